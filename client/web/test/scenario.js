// What is checked in Node and in a browser alike: it knows neither of them.

const bytes = (text) => new TextEncoder().encode(text);
const text = (secret) => new TextDecoder().decode(secret);

/** Fails unless both have the same JSON. */
function same(found, expected, what) {
    const [a, b] = [found, expected].map((value) => JSON.stringify(value));
    if (a !== b) {
        throw new Error(`${what}: ${a} instead of ${b}`);
    }
}

/** What an operation fails with. */
async function failure(operation) {
    try {
        await operation;
    } catch (error) {
        return error;
    }
    throw new Error('it did not fail');
}

/** How many turns the thread takes for others while a PIN is stretched. */
async function turnsMeanwhile(Client, configuration, tokens) {
    const stretching = { turns: 0, is: false };
    const onProgress = (step) => {
        stretching.is = step === 'Stretch';
    };
    const turn = () => {
        stretching.turns += stretching.is ? 1 : 0;
    };
    const timer = setInterval(turn, 5);
    const slow = { ...configuration, pin_hashing_mode: 'Standard2019' };
    const client = await Client.build(slow, tokens, { onProgress });
    await client.register('4821', 's', '', 2);
    clearInterval(timer);
    await client.close();
    return stretching.turns;
}

/** The checks, by name. Each is given the package, a configuration, and the tokens of a user of its own. */
export const scenario = {
    async 'what is registered is recovered, each step is told, and is gone once deleted'({ Client }, configuration, tokens) {
        const steps = [];
        const client = await Client.build(configuration, tokens, { onProgress: (step) => steps.push(step) });
        same((await client.status()).summary, 'NotRegistered', 'status before');
        await client.register('4821', bytes('a secret'), 'mia', 5);
        same((await client.status()).summary, 'Registered', 'status');
        same(text(await client.recover(bytes('4821'), bytes('mia'))), 'a secret', 'secret');
        await client.delete();
        const error = await failure(client.recover('4821', 'mia'));
        same([error.operation, error.kind, error.retryable], ['Recover', 'NotRegistered', false], 'error');
        same(steps.filter((step) => step === 'Stretch').length, 2, 'stretched');
        same(steps.slice(0, 4), ['Recover1', 'Register1', 'Stretch', 'Register2'], 'steps');
        await client.close();
    },

    async 'a wrong PIN says how many guesses are left, and the last one locks out'({ Client, StrongroomError }, configuration, tokens) {
        const client = await Client.build(configuration, tokens);
        await client.register('4821', 's', '', 2);
        for (const left of [1, 0]) {
            const error = await failure(client.recover('0000', ''));
            same(error instanceof StrongroomError, true, 'class');
            same([error.kind, error.guessesRemaining, error.retryable], ['InvalidPin', left, false], 'error');
            same([error.causes.length, error.causes[0].kind, error.causes[0].guessesRemaining], [1, 'InvalidPin', left], 'causes');
            same(Object.keys(configuration.realms).length, 1, 'realms');
            same(error.causes[0].realm, configuration.realms[0].id, 'realm');
        }
        const error = await failure(client.recover('4821', ''));
        same([error.kind, error.guessesRemaining], ['InvalidPin', 0], 'locked out');
        same((await client.status()).summary, 'NoGuesses', 'status');
        await client.close();
    },

    async 'a cancelled operation ends at once with the reason of its signal, and others go on'({ Client }, configuration, tokens) {
        const cancelled = new AbortController();
        let stop = (step) => step === 'Stretch' && cancelled.abort(new Error('the user went back'));
        const slow = { ...configuration, pin_hashing_mode: 'Standard2019' };
        const client = await Client.build(slow, tokens, { onProgress: (step) => stop(step) });
        const error = await failure(client.register('4821', 's', '', 2, { signal: cancelled.signal }));
        same(error.message, 'the user went back', 'reason');
        stop = () => {};
        same((await failure(client.delete({ signal: cancelled.signal }))).message, 'the user went back', 'aborted before');
        same((await client.status()).summary, 'NotRegistered', 'status');
        await client.close();
    },

    async 'the thread goes on while a PIN is stretched'({ Client }, configuration, tokens) {
        const turns = await turnsMeanwhile(Client, configuration, tokens);
        same(turns > 10, true, `${turns} turns`);
    },

    async 'without a worker, the thread does it itself'({ Client }, configuration, tokens) {
        class Alone extends Client {
            static place = {
                ...Client.place,
                startWorker() {
                    throw new Error('there are no workers here');
                },
            };
        }
        // Also what the check before this one would see if it were so there.
        same(await turnsMeanwhile(Alone, configuration, tokens), 0, 'turns');
    },

    async 'a request that does not arrive is told as data, and costs no guess'({ Client }, configuration, tokens) {
        const client = await Client.build(configuration, tokens, {
            fetch: async () => {
                throw new TypeError('this device is offline');
            },
            retryPolicy: { patienceMs: 0, copyAfterMs: null },
        });
        const error = await failure(client.recover('4821', ''));
        same([error.kind, error.retryable, error.mayHaveCostAGuess], ['Unavailable', true, false], 'error');
        same([error.causes[0].kind, error.causes[0].retryable], ['Transient', true], 'cause');
        same(error.causes[0].message, 'the realm did not answer: this device is offline', 'message');
        const status = await client.status();
        same([status.summary, status.undecided.kind], ['Unknown', 'Unavailable'], 'status');
        await client.close();
    },

    async 'tokens may come from a function, and no token is a kind of its own'({ Client }, configuration, tokens) {
        const asked = [];
        const client = await Client.build(configuration, async (realm) => {
            asked.push(realm);
            return asked.length > 1 ? tokens[realm] : undefined;
        });
        same((await failure(client.delete())).kind, 'InvalidAuth', 'kind');
        await client.delete();
        same(asked[0], configuration.realms[0].id, 'realm');
        await client.close();
    },

    async 'every try of a PIN is listed'({ Client }, configuration, tokens) {
        const client = await Client.build(configuration, tokens);
        await client.register('4821', 's', '', 3);
        await failure(client.recover('0000', ''));
        await client.recover('4821', '');
        const [{ realm, list, cause }] = (await client.attempts()).realms;
        same([realm, cause], [configuration.realms[0].id, null], 'realm');
        same(list.newest.map(({ what }) => what), ['Registered', 'Guess', 'Guess', 'Recovered'], 'tries');
        same(list.newest.map(({ guessesLeft }) => guessesLeft), [3, 2, 1, 3], 'left');
        same([list.isYours, list.count, list.guessesLeft], [true, 4, 3], 'list');
        same(list.version, (await client.status()).realms[0].version, 'version');
        same(list.newest.every(({ time }) => time instanceof Date && time.getFullYear() > 2000), true, 'time');
        await client.close();
        const stranger = await Client.build(configuration, {});
        same((await stranger.attempts()).realms[0].cause.kind, 'InvalidAuth', 'without a token');
        await stranger.close();
    },

    async 'the PIN is changed, and nothing is left to repair'({ Client }, configuration, tokens) {
        const client = await Client.build(configuration, tokens);
        await client.register('4821', 'a secret', '', 3);
        same((await failure(client.changePin('0000', '7305', ''))).guessesRemaining, 2, 'a wrong old PIN costs a guess');
        await client.changePin('4821', '7305', '');
        same((await failure(client.recover('4821', ''))).guessesRemaining, 2, 'the old PIN');
        same(text(await client.recover('7305', '')), 'a secret', 'the new PIN');
        const { realms, isWhole } = await client.repair('7305', '');
        same([isWhole, realms.map(({ mended }) => mended)], [true, ['Nothing']], 'whole');
        await client.close();
    },

    async 'a PIN is helped with before it is used'({ Client, PinHelp }, configuration, tokens) {
        const said = async (typed) => {
            const { pin, common, oddities } = await PinHelp.of(typed);
            return [text(pin), common, oddities];
        };
        same(await said('1984\n'), ['1984', 'Year', []], 'line end');
        same(await said('４８２１ '), ['４８２１ ', null, ['OtherDigits', 'OuterSpace']], 'odd');
        same(await said(''), ['', null, ['Empty']], 'empty');
        const client = await Client.build(configuration, tokens);
        await client.register((await PinHelp.of('zoe\u0308 8')).pin, 'a secret', '', 2);
        const { pin } = await PinHelp.of('zo\u00eb\u00a08\r\n');
        same(text(await client.recover(pin, '')), 'a secret', 'one text in two encodings');
        await client.close();
    },

    async 'a wrong call is refused before anything is sent'({ Client }, configuration, tokens) {
        const unusable = { ...configuration, recover_threshold: 7 };
        same((await failure(Client.build(unusable, tokens))).message.includes('threshold'), true, 'configuration');
        const client = await Client.build(configuration, tokens);
        const refused = async (secret, guesses) => (await failure(client.register('4821', secret, '', guesses))).message;
        same((await refused('s', 0)).includes('guess'), true, 'no guesses');
        same((await refused('s', 256)).includes('guess'), true, 'too many');
        same((await refused(new Uint8Array(129), 2)).includes('too long'), true, 'secret');
        await client.close();
        same((await failure(client.status())).message.includes('closed'), true, 'closed');
    },
};
