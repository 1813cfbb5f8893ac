// An app that keeps a secret in Strongroom. What talks to the realms comes first; below it is what shows it.

import { Client, PinHelp, StrongroomError } from './strongroom/browser.js';

// An app ships with its configuration: whoever can change it can name realms of their own.
const configuration = await (await fetch('configuration.json')).json();

/** The last client, and its user. It keeps sessions with the realms open for some seconds, so it is used again. */
let current = { user: undefined, client: undefined };

async function clientOf(user) {
    if (current.user !== user) {
        await current.client?.close();
        const client = await Client.build(configuration, () => token(user), { onProgress: begin, fetch: watchedFetch });
        current = { user, client };
    }
    return current.client;
}

/** A token from the app's own server. A real one gives its user theirs and nobody else's. */
async function token(user) {
    const response = await fetch(`token/${encodeURIComponent(user)}`);
    return response.ok ? response.text() : undefined;
}

/** What each button does. Returns what to tell the user. */
const operations = {
    async register(client, { pin, secret, numGuesses }, cancellation) {
        // One text is one PIN, whatever keyboard it comes from: so also in `recover`.
        await client.register((await PinHelp.of(pin)).pin, secret, '', numGuesses, cancellation);
        return { message: 'Registered.', guesses: numGuesses };
    },

    async recover(client, { pin }, cancellation) {
        const secret = await client.recover((await PinHelp.of(pin)).pin, '', cancellation);
        return { message: `Recovered: ${new TextDecoder().decode(secret)}. All guesses were given back.` };
    },

    async status(client, _, cancellation) {
        const { summary, undecided } = await client.status(cancellation);
        return { message: undecided?.message ?? SUMMARIES[summary] };
    },

    async delete(client, _, cancellation) {
        await client.delete(cancellation);
        return { message: 'Deleted. Nothing is registered now.' };
    },
};

const SUMMARIES = {
    Registered: 'A secret is registered. Asking cost no guess.',
    NotRegistered: 'Nothing is registered.',
    NoGuesses: 'The guesses are used up: the secret is gone. Register a new one.',
};

/** What to tell the user about a PIN that they type. It is a hint: the page refuses none. */
async function hint(typed) {
    const { common, oddities } = await PinHelp.of(typed);
    return [...oddities.map((oddity) => ODD[oddity]), common ? COMMON[common] ?? 'Easily guessed. Choose another one to register.' : ''].join(' ');
}

const ODD = {
    Empty: 'Type a PIN.',
    OtherDigits: 'Switch your keyboard to the digits 0 to 9.',
    OuterSpace: 'There is a space at the beginning or the end.',
    Invisible: 'There is a character that cannot be seen: type the PIN instead of pasting it.',
};

const COMMON = {
    MostChosen: 'One of the PINs that most people choose: it is tried first. Choose another one to register.',
    Short: 'Very short. Choose four characters or more to register.',
    Date: 'A date, which whoever knows you may try. Choose another one to register.',
};

/** What to tell the user about a failure. Its message says what to do next; its fields are for the app. */
function told(error, signal) {
    if (signal.aborted) {
        return { message: 'Cancelled. What had been sent by then may have been acted on.' };
    }
    if (error instanceof StrongroomError) {
        return { message: `${error.message}.`, guesses: error.guessesRemaining };
    }
    // A wrong call, such as a secret that is too long.
    return { message: error.message };
}

// From here on, what is shown.

const byId = (id) => document.getElementById(id);
const form = byId('form');
let cancelling = null;

form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const operation = operations[event.submitter?.value ?? 'recover'];
    const input = { pin: byId('pin').value, secret: byId('secret').value, numGuesses: byId('num-guesses').valueAsNumber };
    cancelling = new AbortController();
    const { signal } = cancelling;
    busy(true);
    try {
        show(await operation(await clientOf(byId('user').value), input, { signal }));
    } catch (error) {
        show(told(error, signal));
    } finally {
        busy(false);
    }
});

byId('cancel').addEventListener('click', () => cancelling?.abort());

byId('pin').addEventListener('input', async ({ target }) => {
    const { value } = target;
    const said = await hint(value);
    // Unless more was typed meanwhile.
    if (value === target.value) {
        byId('pin-hint').textContent = said;
    }
});

/** Where the focus was before the buttons went away. */
let focused = null;

function busy(is) {
    focused = is ? document.activeElement : focused;
    form.querySelectorAll('button').forEach((button) => {
        button.disabled = (button.id === 'cancel') !== is;
    });
    form.setAttribute('aria-busy', String(is));
    (is ? byId('cancel') : focused)?.focus();
    if (is) {
        show({ message: 'One moment.' });
        byId('wire').replaceChildren();
    }
}

function show({ message, guesses }) {
    byId('message').textContent = message;
    byId('guesses').textContent = Number.isInteger(guesses) ? `Guesses left: ${guesses}` : '';
}

const STEPS = {
    Register1: 'Asks the realm whether it is there.',
    Stretch: 'Sends nothing. This device makes each guess at the PIN cost about a second, in a worker.',
    Register2: 'Gives the realm its shares of the keys, the encrypted secret, and the number of guesses.',
    Recover1: 'Asks what is registered. Costs no guess.',
    Recover2: 'Sends the stretched PIN, blinded. The realm counts a guess, and evaluates what it cannot see.',
    Recover3: 'Proves that the PIN was right. The realm gives its share of the key, and all guesses back.',
    Delete: 'Has the realm forget the user.',
};

let step = '';

/** The SDK says that a step begins. */
function begin(name) {
    step = name;
    if (name === 'Stretch') {
        addRow(STEPS[name], '', '');
    }
}

/** `fetch`, for the SDK, with a row in the table for each request. */
async function watchedFetch(url, options) {
    const row = addRow(STEPS[step], `${options.body.length} bytes`, '…');
    try {
        const response = await fetch(url, options);
        row.lastChild.textContent = `${response.status}, ${response.headers.get('content-length') ?? '?'} bytes`;
        return response;
    } catch (error) {
        row.lastChild.textContent = options.signal.aborted ? 'no longer needed' : 'no answer';
        throw error;
    }
}

function addRow(what, sent, answered) {
    const row = document.createElement('tr');
    const name = document.createElement('th');
    name.scope = 'row';
    name.textContent = step;
    const cells = [what, sent, answered].map((text, column) => {
        const cell = document.createElement('td');
        cell.textContent = text;
        cell.className = column > 0 ? 'number' : '';
        return cell;
    });
    row.append(name, ...cells);
    byId('wire').append(row);
    return row;
}

// For tests: the page can be used.
document.documentElement.dataset.ready = 'yes';
