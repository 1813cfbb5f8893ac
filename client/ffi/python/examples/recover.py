"""Registers a secret and recovers it: `python recover.py configuration.json token`, with the auth token of the only realm in a file."""
import json
import pathlib
import sys

import strongroom

# A permanent name of the user, or nothing, as here. With a different one, the right PIN is wrong.
USER_INFO = b""


def main():
    configuration = pathlib.Path(sys.argv[1]).read_text()
    realm = json.loads(configuration)["realms"][0]["id"]
    tokens = {realm: pathlib.Path(sys.argv[2]).read_text().strip()}
    with strongroom.Client(configuration, tokens) as client:
        client.register("4821", b"correct horse battery staple", num_guesses=5, user_info=USER_INFO)
        for pin in ("0000", "4821"):
            try:
                secret = client.recover(pin, user_info=USER_INFO)
                print(f"recovered {len(secret)} bytes")
            except strongroom.StrongroomError as error:
                if error.kind == strongroom.ErrorKind.INVALID_PIN and error.guesses_remaining == 0:
                    print("The secret is gone.")
                print(error)


main()
