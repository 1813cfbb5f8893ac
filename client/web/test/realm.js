// A local realm for the tests: `strongroom-sim serve`.

import { spawn, execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const SIM = process.env.STRONGROOM_SIM ?? fileURLToPath(new URL('../../../target/debug/strongroom-sim', import.meta.url));

/** Starts a realm. It has a configuration, tokens for any user, and an end. */
export async function startRealm() {
    const folder = await mkdtemp(join(tmpdir(), 'strongroom-web-'));
    const realm = spawn(SIM, ['serve', '--keep', folder, '--listen', '127.0.0.1:0'], { stdio: ['ignore', 'pipe', 'inherit'] });
    const text = await announced(realm, 'Ctrl-C ends it.');
    const configuration = JSON.parse(text.slice(text.indexOf('{'), text.lastIndexOf('}') + 1));
    const { id, address } = configuration.realms[0];
    return {
        /** The page to try it with. */
        app: /^An app to try it with: (.*)$/m.exec(text)?.[1],
        id,
        address,
        configuration,
        /** The same, with a PIN stretching that takes no time: for tests of everything else. */
        fast: { ...configuration, pin_hashing_mode: 'FastInsecure' },
        async token(user) {
            const { stdout } = await promisify(execFile)(SIM, ['token', '--keep', folder, '--user', user]);
            return { [id]: stdout.trim() };
        },
        async end() {
            await ended(realm);
            await rm(folder, { recursive: true });
        },
    };
}

/** Starts the realms that the cases are played with. */
export async function startCasesRealm() {
    const stdio = ['ignore', 'pipe', 'inherit'];
    const realms = spawn(SIM, ['cases-realm', '--listen', '127.0.0.1:0'], { stdio });
    const text = await announced(realms, '\n');
    return { control: text.replace('control ', '').trim(), end: () => ended(realms) };
}

async function ended(process) {
    const exit = new Promise((resolve) => process.once('exit', resolve));
    process.kill('SIGTERM');
    await exit;
}

/** What is printed up to this. */
async function announced(realm, last) {
    let text = '';
    realm.stdout.setEncoding('utf8');
    for await (const part of realm.stdout.iterator({ destroyOnReturn: false })) {
        text += part;
        if (text.includes(last)) {
            realm.stdout.resume();
            return text;
        }
    }
    throw new Error(`strongroom-sim ended: ${text}`);
}
