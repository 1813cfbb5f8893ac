// What a worker does: it stretches PINs. `browser-worker.js` and `node-worker.js` carry the messages.

import { initSync, stretch } from './core.js';

/**
 * Answers one message of `Stretchers` in `host.js`. The first has the compiled module, the others a PIN each.
 *
 * @returns {object | undefined} what to send back
 */
export function answer({ module, id, mode, pin, version, userInfo }) {
    if (module) {
        initSync({ module });
        return undefined;
    }
    try {
        return { id, stretched: stretch(mode, pin, version, userInfo) };
    } catch (error) {
        return { id, error: String(error) };
    } finally {
        pin.fill(0);
    }
}
