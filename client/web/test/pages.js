// A server of pages for the tests: the package and the tests beside it, under the policy that the package's README asks for.

import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';

const TYPES = { js: 'text/javascript', wasm: 'application/wasm' };
const PAGE = '<!doctype html><title>Strongroom</title><link rel="icon" href="data:,">';

/** Serves them, to a page that may ask `realms`. */
export async function startPages(realms) {
    const policy = `default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; img-src data:; connect-src 'self' ${realms}`;
    const server = createServer(async ({ url }, response) => {
        const { pathname } = new URL(url, 'http://localhost');
        if (pathname === '/') {
            response.setHeader('content-type', 'text/html');
            response.setHeader('content-security-policy', policy);
            response.end(PAGE);
            return;
        }
        try {
            const file = await readFile(new URL(`..${pathname}`, import.meta.url));
            response.setHeader('content-type', TYPES[pathname.split('.').pop()] ?? 'text/plain');
            response.end(file);
        } catch {
            response.writeHead(404).end();
        }
    });
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    return {
        url: `http://127.0.0.1:${server.address().port}/`,
        end() {
            server.close();
            server.closeAllConnections();
        },
    };
}
