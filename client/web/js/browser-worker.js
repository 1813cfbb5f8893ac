// The worker of a page.

import { answer } from './worker.js';

onmessage = ({ data }) => {
    const said = answer(data);
    if (said) {
        postMessage(said);
    }
};
