"""Plays the cases of `client/cases` with the client in Python, as `client/cases/README.md` says."""
import native  # noqa: F401  first: it says which library

import concurrent.futures
import json
import os
import subprocess
import unittest
import urllib.error
import urllib.request
from pathlib import Path

import strongroom

CASES = Path(__file__).parents[3] / "cases"


class Stage:
    """The realms that the cases are played at."""

    def __init__(self):
        self.process = subprocess.Popen([os.environ["STRONGROOM_SIM"], "cases-realm", "--listen", "127.0.0.1:0", "--until-eof"],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.control = self.process.stdout.readline().split()[1]

    def ask(self, method, path, body=None):
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.control + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path}: {error.read().decode()}") from error

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def told(error):
    """An error as the cases write it."""
    causes = [{"realm": cause.realm, "kind": str(cause.kind), "guessesRemaining": cause.guesses_remaining,
               "retryable": cause.retryable, "message": cause.message} for cause in error.causes]
    return {"error": {"operation": str(error.operation), "kind": str(error.kind), "guessesRemaining": error.guesses_remaining,
                      "retryable": error.retryable, "mayHaveCostAGuess": error.may_have_cost_a_guess, "message": str(error),
                      "causes": causes}}


def play(client, step):
    user_info = step.get("userInfo", "")
    try:
        if step["operation"] == "register":
            client.register(step["pin"], step["secret"], num_guesses=step["numGuesses"], user_info=user_info)
        elif step["operation"] == "recover":
            return {"secret": client.recover(step["pin"], user_info=user_info).decode()}
        elif step["operation"] == "status":
            return {"status": str(client.status().summary)}
        else:
            {"delete": client.delete, "close": client.close}[step["operation"]]()
        return {"done": True}
    except strongroom.StrongroomError as error:
        return told(error)


def differences(stage, case):
    """Where the client did another thing than a case expects."""
    begun = stage.ask("POST", "cases", case)
    path, clients = f"cases/{begun['case']}", {}
    try:
        for number, step in enumerate(case["steps"]):
            name = step["client"]
            stage.ask("POST", f"{path}/steps/{number}", b"")
            if name not in clients:
                made = begun["clients"][name]
                patience = made["patienceMs"]
                clients[name] = strongroom.Client(made["configuration"], made["tokens"], previous=made["previous"],
                                                  patience=None if patience is None else patience / 1000)
            found = stage.ask("POST", f"{path}/steps/{number}/outcome", play(clients[name], step))["differences"]
            if found:
                return [f"step {number}: {difference}" for difference in found]
            if step["operation"] == "close":
                del clients[name]
        return []
    finally:
        stage.ask("DELETE", path)


@unittest.skipUnless(CASES.is_dir(), "there are no cases")
class Cases(unittest.TestCase):
    def test_every_case_is_as_it_says_and_a_changed_one_is_not(self):
        cases = {file.name: json.loads(file.read_text()) for file in sorted(CASES.glob("*.json"))}
        self.assertGreater(len(cases), 10)
        changed = json.loads(json.dumps(cases["wrong-pin.json"]))
        changed["steps"][1]["expect"]["error"]["guessesRemaining"] = 1
        stage = Stage()
        try:
            self.assertNotEqual(differences(stage, changed), [])
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                found = dict(zip(cases, pool.map(lambda case: differences(stage, case), cases.values())))
        finally:
            stage.close()
        self.assertEqual({name: wrong for name, wrong in found.items() if wrong}, {})


if __name__ == "__main__":
    unittest.main()
