// The package in a browser: what imports it loads `core_bg.wasm`, and later `browser-worker.js`, from beside this file.

import { BaseClient, BasePinHelp } from './client.js';

export { StrongroomError } from './error.js';

const place = {
    /** The compiled WebAssembly. */
    async module() {
        const url = new URL('./core_bg.wasm', import.meta.url);
        const response = await fetch(url);
        if (!response.ok) {
            throw new Error(`${url} cannot be loaded: status ${response.status}`);
        }
        return WebAssembly.compile(await response.arrayBuffer());
    },

    /** A worker that tells `onMessage` what it says, and `onError` if it fails. */
    startWorker(onMessage, onError) {
        const worker = new Worker(new URL('./browser-worker.js', import.meta.url), { type: 'module', name: 'strongroom' });
        worker.onmessage = ({ data }) => onMessage(data);
        worker.onerror = (event) => {
            event.preventDefault();
            onError();
        };
        return { send: (message) => worker.postMessage(message), busy() {}, end: () => worker.terminate() };
    },
};

export class Client extends BaseClient {
    static place = place;
}

export class PinHelp extends BasePinHelp {
    static place = place;
}
