#!/usr/bin/env python3
"""Makes the cards and the encrypted key beside it, with nothing of the agent: as decision 45 and the format of age have them.

Not part of any build. Needs `cryptography` and `pyrage`. What it writes is committed, and must not change: cards are read years
later. The field is multiplied by logarithms here. All are of one key, that of the seed 010101…, and the passphrase is
`correct horse battery`.
"""

import hashlib
import pathlib
import pyrage
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

FOLDER = pathlib.Path(__file__).parent
WORDS = (FOLDER / "../../../proto/src/words.txt").read_text().split()
SEED = bytes([1] * 32)
KEY = Ed25519PrivateKey.from_private_bytes(SEED)
PUBLIC = KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

POWERS = [1]
while len(POWERS) < 255:
    twice = POWERS[-1] << 1
    POWERS.append((twice ^ (0x11b if twice > 255 else 0)) ^ POWERS[-1])


def times(a, b):
    return 0 if 0 in (a, b) else POWERS[(POWERS.index(a) + POWERS.index(b)) % 255]


def digest(label, *fields):
    parts = [label.encode(), *fields]
    return hashlib.blake2s(b"".join(len(part).to_bytes(4, "big") + part for part in parts)).digest()


def card(index, needed, cards, powers, set_id):
    share = bytes(SEED)
    factor = 1
    for power in powers:
        factor = times(factor, index)
        share = bytes(a ^ times(b, factor) for a, b in zip(share, power))
    body = bytes([1 << 4 | needed, cards << 4 | index]) + set_id + digest("strongroom custodian card key 1", PUBLIC)[:4] + share
    number = int.from_bytes(body + digest("strongroom custodian card 1", body)[:4], "big")
    return [WORDS[number >> 11 * (31 - i) & 2047] for i in range(32)]


def main():
    powers = [hashlib.sha256(bytes([i])).digest() for i in range(2)]
    for index in range(1, 6):
        words = card(index, 3, 5, powers, b"\x16\x45")
        (FOLDER / f"golden.card{index}").write_text("\n".join(" ".join(words[i:i + 8]) for i in range(0, 32, 8)) + "\n")
    pem = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (FOLDER / "golden.age").write_bytes(pyrage.passphrase.encrypt(pem, "correct horse battery"))


main()
