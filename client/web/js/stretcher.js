// Has PINs stretched in a worker, so that the page responds meanwhile.

/** The worker of one client. It is started when it is first needed. */
export class Stretcher {
    #place;
    #module;
    #worker = null;
    /** What is waited for, by id. */
    #waiting = new Map();
    #lastId = 0;

    /**
     * @param {object} place where the client runs
     * @param {WebAssembly.Module} module what the worker runs
     */
    constructor(place, module) {
        this.#place = place;
        this.#module = module;
    }

    /** Resolves to 64 bytes. Rejected if there is no worker, or the signal is aborted first. */
    stretch(mode, pin, version, userInfo, signal) {
        const id = (this.#lastId += 1);
        return new Promise((resolve, reject) => {
            // Throws, which rejects, where there are no workers.
            this.#started();
            this.#waiting.set(id, { resolve, reject });
            signal.addEventListener('abort', () => this.#drop(id), { once: true });
            this.#worker.busy(true);
            this.#worker.send({ id, mode, pin, version, userInfo });
            pin.fill(0);
        });
    }

    /** Ends the worker. Whatever is waited for is rejected. */
    close() {
        this.#worker?.end();
        this.#worker = null;
        this.#waiting.forEach(({ reject }) => reject('there is no worker'));
        this.#waiting.clear();
    }

    #started() {
        if (!this.#worker) {
            const close = () => this.close();
            this.#worker = this.#place.startWorker((said) => this.#heard(said), close);
            this.#worker.send({ module: this.#module });
        }
    }

    #heard({ id, stretched, error }) {
        const waits = this.#waiting.get(id);
        this.#waiting.delete(id);
        if (this.#waiting.size === 0) {
            this.#worker?.busy(false);
        }
        if (stretched) {
            waits?.resolve(stretched);
        } else {
            waits?.reject(error);
        }
    }

    /** Nobody waits for this one any more. A worker cannot be interrupted, but it can be ended if nobody else needs it. */
    #drop(id) {
        const waits = this.#waiting.get(id);
        if (waits) {
            this.#waiting.delete(id);
            waits.reject('nobody waits');
            if (this.#waiting.size === 0) {
                this.close();
            }
        }
    }
}
