// How an operation fails.

/** The fields are those of the Rust SDK's `Error`; `strongroom.d.ts` says what each means. */
export class StrongroomError extends Error {
    /** @param {object} fields what `convert.rs` makes of an error */
    constructor({ message, ...fields }) {
        super(message);
        this.name = 'StrongroomError';
        Object.assign(this, fields);
    }
}
