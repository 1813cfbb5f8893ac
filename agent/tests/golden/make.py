#!/usr/bin/env python3
"""Makes the transcripts beside it, with nothing of the agent: its lines, hashes and signatures as decision 42 has them.

Not part of any build. Needs `cryptography`. What it writes is committed, and must not change: a transcript is read years later.
"""

import hashlib
import json
import pathlib
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

FOLDER = pathlib.Path(__file__).parent
KEYS = {i: Ed25519PrivateKey.from_private_bytes(bytes([i] * 32)) for i in range(1, 5)}


def digest(label, *fields):
    parts = [label.encode(), *fields]
    return hashlib.blake2s(b"".join(len(part).to_bytes(4, "big") + part for part in parts)).digest()


def public(i):
    return KEYS[i].public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def sign(i, over):
    return {"custodian": public(i).hex(), "signature": KEYS[i].sign(over).hex()}


def some(byte, count):
    return bytes([byte] * count).hex()


RULES = {"custodians": [public(i).hex() for i in (1, 2, 3)], "threshold": 2, "smallest_group": 3}
# As HSMs showed it whose builds named no checkpoint key, and as they do since.
BIRTH_1 = {"realm": some(1, 16), "public_key": some(2, 32), "policy": RULES, "hsm": some(3, 16), "build": some(4, 32)}
BIRTH = {**BIRTH_1, "checkpoint_key": some(9, 32)}
REQUEST = {"hsm": some(5, 16), "device_key": some(6, 32), "build": some(4, 32), "nonce": some(7, 16), "attestation": ""}
APPROVAL = {
    "realm": BIRTH["realm"], "public_key": BIRTH["public_key"], "policy": RULES,
    "from": BIRTH["hsm"], "from_build": BIRTH["build"], "from_nonce": some(8, 16), "to": REQUEST,
}
IMPORT = {
    "hsm": REQUEST["hsm"], "device_key": REQUEST["device_key"], "build": REQUEST["build"], "realm": BIRTH["realm"],
    "public_key": BIRTH["public_key"], "policy": RULES, "from": BIRTH["hsm"], "signed_by": RULES["custodians"][:2],
}


def policy_bytes(rules):
    return bytes([rules["threshold"]]) + bytes.fromhex("".join(rules["custodians"])) + bytes([rules["smallest_group"]])


def founding(birth):
    h = bytes.fromhex
    fields = [h(birth["realm"]), h(birth["public_key"]), policy_bytes(birth["policy"]), h(birth["hsm"]), h(birth["build"])]
    if "checkpoint_key" not in birth:
        return digest("strongroom founding 1", *fields)
    return digest("strongroom founding 2", *fields, h(birth["checkpoint_key"]))


def export(approval):
    to, names = approval["to"], ("realm", "public_key", "from", "from_build", "from_nonce")
    fields = [approval[name] for name in names] + [to[name] for name in ("hsm", "device_key", "build", "nonce", "attestation")]
    return digest("strongroom export approval 2", *map(bytes.fromhex, fields), policy_bytes(approval["policy"]))


def step(command, given, outcome):
    return [{"started": {command: given}}, {"done": {command: outcome}}]


def ceremony(rehearsal=False, imported=IMPORT, founding_signature=None, birth=BIRTH_1, other_birth=None):
    approve = lambda i: step("hsm approve", {"custodian": public(i).hex(), "founding": birth, "approval": APPROVAL},
                             sign(i, export(APPROVAL)))
    sign_founding = lambda i: step("realm sign", {"custodian": public(i).hex(), "founding": birth},
                                   founding_signature or sign(i, founding(birth)))
    found = other_birth or birth
    founded, approved = [sign(i, founding(found)) for i in (1, 2)], [sign(i, export(APPROVAL)) for i in (1, 2)]
    return [
        {"begun": {"format": 1, "rehearsal": rehearsal}},
        *step("realm create", RULES, birth),
        *sign_founding(1), 1, *sign_founding(2), 2,
        *step("realm found", {"founding": found, "signatures": founded}, founded),
        *step("hsm request", {}, REQUEST),
        *step("hsm offer", {"realm": BIRTH["realm"], "request": REQUEST}, APPROVAL),
        *approve(1), 1, *approve(2), 2,
        *step("hsm export", {"approval": APPROVAL, "signatures": approved}, some(9, 32)),
        *step("hsm enrol", {"realm": BIRTH["realm"], "sealed": some(9, 32)}, imported),
        {"ended": {}}, 1, 2,
    ]


def line(entry):
    return json.dumps(entry, separators=(",", ":"), ensure_ascii=False)


def chained(events, transcript=1):
    """Lines. A number among the events is a custodian who signs what is before."""
    prev, lines = bytes(32), []
    rehearsal = "rehearsal " if events[0]["begun"]["rehearsal"] else ""
    for n, event in enumerate(events, 1):
        if isinstance(event, int):
            head = digest(f"strongroom transcript {rehearsal}head 1", bytes([transcript] * 16), (n - 1).to_bytes(4, "big"), prev)
            event = {"signed": sign(event, head)}
        entry = {"n": n, "prev": prev.hex(), "transcript": some(transcript, 16), "time": f"2026-11-30T09:{(n - 1) % 60:02}:00Z",
                 "program": "0.1.0", "event": event}
        lines.append(line(entry))
        prev = digest("strongroom transcript entry 1", lines[-1].encode())
    return lines


def anew(lines, change):
    """Chained again after a change, with the signatures as they were."""
    prev, entries = bytes(32), [json.loads(text) for text in lines]
    change(entries)
    for n, entry in enumerate(entries, 1):
        entry["n"], entry["prev"] = n, prev.hex()
        prev = digest("strongroom transcript entry 1", line(entry).encode())
    return [line(entry) for entry in entries]


def main():
    whole = chained(ceremony())
    rehearsed = chained(ceremony(rehearsal=True))
    files = {
        "whole": whole,
        "rehearsal": rehearsed,
        "space": [whole[0].replace('{"n"', '{ "n"')],
        "edited": [whole[0].replace("T09:", "T08:"), whole[1]],
        "missing": whole[:2] + whole[3:4],
        "reordered": whole[:2] + [whole[3], whole[2]],
        "repeated": whole[:2] + whole[1:3],
        "spliced": whole[:2] + chained(ceremony(), transcript=2)[2:3],
        "signed-before": anew(whole[:6], lambda entries: entries[1].update(time="2020-01-01T00:00:00Z")),
        "rehearsal-as-real": anew(rehearsed[:6], lambda entries: entries[0]["event"]["begun"].update(rehearsal=False)),
        "other-key": chained(ceremony(founding_signature=sign(1, founding({**BIRTH_1, "public_key": some(99, 32)})))[:5]),
        "import-unsigned": chained(ceremony(imported={**IMPORT, "signed_by": []})[:25]),
        "not-ended": whole[:25],
        "one-signed": whole[:27],
        "checkpoint-key": chained(ceremony(birth=BIRTH)),
        "checkpoint-key-signed-without": chained(ceremony(birth=BIRTH, founding_signature=sign(1, founding(BIRTH_1)))[:5]),
        "checkpoint-key-left-out": chained(ceremony(birth=BIRTH, other_birth=BIRTH_1)[:11]),
    }
    for name, lines in files.items():
        (FOLDER / f"{name}.jsonl").write_bytes("".join(text + "\n" for text in lines).encode())
    (FOLDER / "cut-off.jsonl").write_bytes("\n".join(whole[:3]).encode()[:-9])


main()
