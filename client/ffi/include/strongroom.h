/* The Strongroom SDK as C functions. `client/ffi/src/abi.rs` is where they are made.
 *
 * A client is made of options in JSON. A call is one of its operations under way: whoever began it asks for what comes next, until
 * the outcome has come. Nothing here calls back.
 *
 *   options   {"configuration": TEXT, "previous": [TEXT…], "allowHttp": false, "rootCertificates": PEM, "patienceMs": 10000}
 *             all but the first may be left out
 *   request   {"operation": "register", "numGuesses": 1 to 255, "userInfo": HEX}, with PIN and secret beside it
 *             {"operation": "recover", "userInfo": HEX}, with the PIN beside it
 *             {"operation": "changePin", "userInfo": HEX}, with the old PIN beside it, and the new one in place of a secret
 *             {"operation": "repair", "userInfo": HEX}, with the PIN beside it
 *             {"operation": "status"}, {"operation": "attempts"}, {"operation": "delete"}, {"operation": "close"}
 *   reply     on the way: {"progress": STEP}, {"token": {"number": N, "realm": ID}}
 *             the last: {"done": true}, {"secret": true} with the bytes beside it, {"status": …, "realms": […], "undecided": …},
 *             {"attempts": [{"realm": ID, "list": LIST or null, "cause": …}…]}, where LIST is {"version": HEX, "isYours": …, "count": N,
 *             "guessesLeft": …, "newest": [{"index": N, "unixS": …, "what": NAME, "guessesLeft": N}…]},
 *             {"error": {…}}, {"cancelled": true}, or {"refused": WHY} if the request makes no sense
 *   pin help  {"common": KIND or null, "oddities": [KIND…]} with the PIN to use beside it, or {"refused": WHY}
 *
 * `client/cases/README.md` has the fields of an error. Texts are UTF-8 with a NUL at the end. Bytes may be null if their length is 0.
 * Any pointer may be null; then nothing happens. A client, and a call, may be used from several threads; nothing may be freed while
 * it is in use, nor twice. */
#ifndef STRONGROOM_H
#define STRONGROOM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct strongroom_client strongroom_client;
typedef struct strongroom_call strongroom_call;
typedef struct strongroom_reply strongroom_reply;

/* 2. A caller that was written for another version must not go on. */
uint32_t strongroom_abi_version(void);

/* Never null. If the options make no sense, `strongroom_client_refusal` is not null, and the client can only be freed. */
strongroom_client *strongroom_client_new(const char *options);
/* {"refused": WHY}, which lives as long as the client; or null. */
const char *strongroom_client_refusal(const strongroom_client *client);
/* Does not wait: what the client had left under way ends. Its calls go on. */
void strongroom_client_free(strongroom_client *client);

/* Begins an operation. Copies what it is given. Null only for a client that is null or refused. */
strongroom_call *strongroom_call_begin(const strongroom_client *client, const char *request, const uint8_t *pin, size_t pin_length,
                                       const uint8_t *secret, size_t secret_length);
/* What comes next, to be freed; null if nothing comes within `timeout_ms`, and at once after the last reply. */
strongroom_reply *strongroom_call_next(const strongroom_call *call, uint32_t timeout_ms);
/* Answers a request for a token, which has to be done for each, in any call that is open. Null: there is none. */
void strongroom_call_give_token(const strongroom_call *call, uint64_t number, const uint8_t *token, size_t length);
/* Gives the operation up; its last reply comes next. What it had sent may still happen. */
void strongroom_call_cancel(const strongroom_call *call);
/* Cancels a call that has not ended. */
void strongroom_call_free(strongroom_call *call);

/* Looks at a PIN that a user typed, in UTF-8: whether many would choose it, and what may not have been meant. The reply's bytes are what
 * to register and to recover with, so that one text is one PIN on every device. Refuses nothing but what is not UTF-8. Needs no client;
 * the reply is to be freed, and never null. */
strongroom_reply *strongroom_pin_help(const uint8_t *typed, size_t length);

/* JSON, which lives as long as the reply. */
const char *strongroom_reply_text(const strongroom_reply *reply);
/* The bytes of a secret or a PIN, which live as long as the reply; null if it brings none. */
const uint8_t *strongroom_reply_secret(const strongroom_reply *reply);
size_t strongroom_reply_secret_length(const strongroom_reply *reply);
/* Wipes what it brings. */
void strongroom_reply_free(strongroom_reply *reply);

#ifdef __cplusplus
}
#endif

#endif
