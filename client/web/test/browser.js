// Headless Chromium, driven over a pipe: no port, no package.

import { spawn } from 'node:child_process';
import { access, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';

const FLAGS = ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--hide-scrollbars',
    '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-extensions',
    '--remote-debugging-pipe', '--window-size=1180,1000', 'about:blank'];
/** Generous: the machine may be busy. */
const PATIENCE_MS = 60_000;
const PROGRAMS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

/** Where the browser is, if there is one. */
export async function found() {
    for (const program of PROGRAMS) {
        if (await access(program).then(() => true, () => false)) {
            return program;
        }
    }
    return undefined;
}

/** One page of a browser of its own. */
export class Page {
    #process;
    #folder;
    #session;
    #lastId = 0;
    #waiting = new Map();
    /** What the browser complained about, such as what a policy forbids. */
    complaints = [];

    static async open(program, url) {
        const page = new Page();
        page.#folder = await mkdtemp(join(tmpdir(), 'strongroom-chromium-'));
        const stdio = ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'];
        page.#process = spawn(program, [`--user-data-dir=${page.#folder}`, ...FLAGS], { stdio, detached: true });
        let rest = '';
        page.#process.stdio[4].setEncoding('utf8');
        page.#process.stdio[4].on('data', (more) => {
            const messages = (rest + more).split('\0');
            rest = messages.pop();
            messages.forEach((message) => page.#hear(JSON.parse(message)));
        });
        const { targetId } = await page.#say('Target.createTarget', { url: 'about:blank' });
        const { sessionId } = await page.#say('Target.attachToTarget', { targetId, flatten: true });
        page.#session = sessionId;
        for (const domain of ['Page', 'Runtime', 'Log']) {
            await page.#say(`${domain}.enable`);
        }
        await page.#say('Page.navigate', { url });
        await page.until(`location.href !== 'about:blank' && document.readyState === 'complete'`);
        return page;
    }

    /** Waits until an expression is true. */
    async until(expression) {
        const end = Date.now() + PATIENCE_MS;
        // While a page gives way to another, nothing can be evaluated.
        while (!(await this.evaluate(expression).catch(() => false))) {
            if (Date.now() > end) {
                throw new Error(`it never came about: ${expression}`);
            }
            await setTimeout(20);
        }
    }

    /** What an expression comes to, after its promise if it is one. */
    async evaluate(expression) {
        const said = await this.#say('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
        if (said.exceptionDetails) {
            const { exception, text } = said.exceptionDetails;
            throw new Error(exception?.description ?? text);
        }
        return said.result.value;
    }

    /** A picture of the whole page, as PNG. */
    async picture() {
        const { cssContentSize } = await this.#say('Page.getLayoutMetrics');
        const clip = { x: 0, y: 0, width: cssContentSize.width, height: cssContentSize.height, scale: 1 };
        const { data } = await this.#say('Page.captureScreenshot', { format: 'png', captureBeyondViewport: true, clip });
        return Buffer.from(data, 'base64');
    }

    async close() {
        const ended = new Promise((resolve) => this.#process.once('exit', resolve));
        this.#say('Browser.close').catch(() => {});
        await ended;
        await rm(this.#folder, { recursive: true, force: true, maxRetries: 5 });
    }

    #say(method, params = {}) {
        const id = (this.#lastId += 1);
        const inPage = this.#session && !method.startsWith('Browser.') ? { sessionId: this.#session } : {};
        this.#process.stdio[3].write(`${JSON.stringify({ id, method, params, ...inPage })}\0`);
        return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    }

    #hear({ id, method, params, result, error }) {
        const waits = this.#waiting.get(id);
        this.#waiting.delete(id);
        if (error) {
            waits?.reject(new Error(error.message));
        } else {
            waits?.resolve(result);
        }
        // That a realm was busy is no fault of a page.
        if (method === 'Log.entryAdded' && params.entry.level === 'error' && params.entry.source !== 'network') {
            this.complaints.push(`${params.entry.text} ${params.entry.url ?? ''}`);
        }
        if (method === 'Runtime.exceptionThrown') {
            this.complaints.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
        }
    }
}
