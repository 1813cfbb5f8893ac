// Plays one case of `client/cases`, as its README says. It knows neither Node nor a browser.

/** Fails with the first difference between what the case says and what the client does. */
export async function play({ Client, StrongroomError }, control, text) {
    const ask = async (method, path, body) => {
        const response = await fetch(new URL(path, control), { method, body });
        const said = await response.json();
        if (!response.ok) {
            throw new Error(`the control refuses ${method} ${path}: ${said.error}`);
        }
        return said;
    };
    const { case: id, clients } = await ask('POST', 'cases', text);
    const made = new Map();
    try {
        for (const [k, step] of JSON.parse(text).steps.entries()) {
            await ask('POST', `cases/${id}/steps/${k}`);
            if (!made.has(step.client)) {
                const { configuration, previous, tokens, patienceMs } = clients[step.client];
                const retryPolicy = { patienceMs: patienceMs ?? undefined };
                made.set(step.client, await Client.build(configuration, tokens, { previous, retryPolicy }));
            }
            const outcome = await outcomeOf(made.get(step.client), step, StrongroomError);
            if (step.operation === 'close') {
                made.delete(step.client);
            }
            const { differences } = await ask('POST', `cases/${id}/steps/${k}/outcome`, JSON.stringify(outcome));
            if (differences.length > 0) {
                throw new Error(`step ${k}: ${JSON.stringify(differences)}`);
            }
        }
    } finally {
        await Promise.all([...made.values()].map((client) => client.close()));
        await ask('DELETE', `cases/${id}`);
    }
}

async function outcomeOf(client, { operation, pin, secret, numGuesses, userInfo = '' }, StrongroomError) {
    try {
        switch (operation) {
            case 'register':
                await client.register(pin, secret, userInfo, numGuesses);
                return { done: true };
            case 'recover':
                return { secret: new TextDecoder().decode(await client.recover(pin, userInfo)) };
            case 'status':
                return { status: (await client.status()).summary };
            case 'delete':
            case 'close':
                await client[operation]();
                return { done: true };
            default:
                throw new Error(`there is no operation ${operation}`);
        }
    } catch (error) {
        if (!(error instanceof StrongroomError)) {
            throw error;
        }
        const { operation, kind, guessesRemaining, retryable, mayHaveCostAGuess, message, causes } = error;
        return { error: { operation, kind, guessesRemaining, retryable, mayHaveCostAGuess, message, causes } };
    }
}
