// The worker of a Node process.

import { parentPort } from 'node:worker_threads';

import { answer } from './worker.js';

parentPort.on('message', (data) => {
    const said = answer(data);
    if (said) {
        parentPort.postMessage(said);
    }
});
