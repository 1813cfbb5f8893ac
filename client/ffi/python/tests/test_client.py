"""The client in Python against a realm on this machine."""
import native  # noqa: F401  first: it says which library

import asyncio
import json
import pickle
import subprocess
import sys
import threading
import unittest
from pathlib import Path

import strongroom
from realm import Realm

EXAMPLE = Path(__file__).parents[1] / "examples" / "recover.py"
PIN, SECRET = "4821", b"correct horse"


def setUpModule():
    global REALM
    REALM = Realm()


def tearDownModule():
    REALM.close()


class Blocking(unittest.TestCase):
    def client(self, **options):
        return strongroom.Client(REALM.configuration, REALM.tokens(), **options)

    def test_a_wrong_pin_costs_a_guess_and_the_last_one_the_secret(self):
        steps = []
        client = self.client(on_progress=steps.append)
        client.register(PIN, SECRET, num_guesses=2)
        self.assertEqual(steps, [strongroom.Progress.REGISTER1, strongroom.Progress.STRETCH, strongroom.Progress.REGISTER2])
        with self.assertRaises(strongroom.StrongroomError) as raised:
            client.recover("0000")
        error = raised.exception
        self.assertEqual((error.operation, error.kind), (strongroom.Operation.RECOVER, strongroom.ErrorKind.INVALID_PIN))
        self.assertEqual((error.guesses_remaining, error.retryable, error.may_have_cost_a_guess), (1, False, None))
        self.assertEqual([(cause.realm, cause.kind, cause.guesses_remaining) for cause in error.causes],
                         [(REALM.id, strongroom.Cause.INVALID_PIN, 1)])
        self.assertIn("One guess is left", str(error))
        again = pickle.loads(pickle.dumps(error))
        self.assertEqual((again.kind, again.causes, str(again)), (error.kind, error.causes, str(error)))
        self.assertEqual(client.recover(PIN), SECRET)
        for left in (1, 0, 0):
            with self.assertRaises(strongroom.StrongroomError) as raised:
                client.recover("0000")
            self.assertEqual(raised.exception.guesses_remaining, left)
        self.assertEqual(client.status().summary, strongroom.Summary.NO_GUESSES)

    def test_what_is_deleted_is_not_registered(self):
        with self.client() as client:
            client.register(bytearray(b"\x00\xff"), b"", num_guesses=255, user_info="Zoë")
            self.assertEqual(client.recover(b"\x00\xff", user_info="Zoë".encode()), b"")
            status = client.status()
            self.assertEqual((status.summary, status.undecided), (strongroom.Summary.REGISTERED, None))
            self.assertEqual(len(status.realms[0].version), 32)
            client.delete()
            self.assertEqual(client.status().summary, strongroom.Summary.NOT_REGISTERED)
            with self.assertRaises(strongroom.StrongroomError) as raised:
                client.recover(b"\x00\xff")
            self.assertEqual(raised.exception.kind, strongroom.ErrorKind.NOT_REGISTERED)

    def test_a_token_is_asked_for_each_time_and_what_its_source_raises_comes_out(self):
        token, asked = REALM.token("asked"), []
        client = strongroom.Client(REALM.configuration, lambda realm: asked.append(realm) or token)
        client.delete()
        self.assertEqual(set(asked), {REALM.id})

        def broken(_):
            raise LookupError("signed out")
        with self.assertRaisesRegex(LookupError, "signed out"):
            strongroom.Client(REALM.configuration, broken).delete()
        for tokens in ({}, {REALM.id: "not a token"}, lambda _: None):
            with self.assertRaises(strongroom.StrongroomError) as raised:
                strongroom.Client(REALM.configuration, tokens).delete()
            self.assertEqual(raised.exception.kind, strongroom.ErrorKind.INVALID_AUTH)

    def test_a_realm_that_is_away_is_unavailable_and_costs_no_guess(self):
        configuration = json.loads(REALM.configuration)
        configuration["realms"][0]["address"] = "http://127.0.0.1:9/"
        client = strongroom.Client(json.dumps(configuration), REALM.tokens(), patience=0)
        with self.assertRaises(strongroom.StrongroomError) as raised:
            client.recover(PIN)
        error = raised.exception
        self.assertEqual((error.kind, error.retryable, error.may_have_cost_a_guess), (strongroom.ErrorKind.UNAVAILABLE, True, False))
        self.assertEqual(error.causes[0].kind, strongroom.Cause.TRANSIENT)
        status = client.status()
        self.assertEqual((status.summary, status.undecided.kind), (strongroom.Summary.UNKNOWN, strongroom.ErrorKind.UNAVAILABLE))

    def test_arguments_that_make_no_sense_are_refused_before_anything_is_sent(self):
        with self.assertRaisesRegex(strongroom.ConfigurationError, "not the JSON object"):
            strongroom.Client("{", {})
        with self.assertRaisesRegex(strongroom.ConfigurationError, "no certificate"):
            strongroom.Client(REALM.configuration, {}, root_certificates="none")
        for num_guesses in (0, 256):
            with self.assertRaisesRegex(ValueError, "1 to 255"):
                self.client().register(PIN, SECRET, num_guesses=num_guesses)
        with self.assertRaisesRegex(ValueError, "128"):
            self.client().register(PIN, bytes(129), num_guesses=1)

    def test_a_pin_is_helped_with_before_it_is_used(self):
        help = strongroom.PinHelp.of("1984\n")
        self.assertEqual((help.pin, help.common, help.oddities), (b"1984", strongroom.CommonPin.YEAR, []))
        self.assertNotIn("1984", repr(help))
        odd = strongroom.PinHelp.of("４８２１ ")
        self.assertEqual((odd.common, odd.oddities), (None, [strongroom.PinOddity.OTHER_DIGITS, strongroom.PinOddity.OUTER_SPACE]))
        self.assertEqual(strongroom.PinHelp.of("").oddities, [strongroom.PinOddity.EMPTY])
        client = self.client()
        client.register(strongroom.PinHelp.of("zoe\u0308 8").pin, SECRET, num_guesses=2)
        self.assertEqual(client.recover(strongroom.PinHelp.of("zo\u00eb\u00a08\r\n").pin), SECRET)

    def test_every_try_of_a_pin_is_listed(self):
        client = self.client()
        client.register(PIN, SECRET, num_guesses=3)
        with self.assertRaises(strongroom.StrongroomError):
            client.recover("0000")
        client.recover(PIN)
        told, = client.attempts().realms
        counted = strongroom.Counted
        self.assertEqual((told.realm, told.cause), (REALM.id, None))
        self.assertEqual([one.what for one in told.list.newest], [counted.REGISTERED, counted.GUESS, counted.GUESS, counted.RECOVERED])
        self.assertEqual([one.guesses_left for one in told.list.newest], [3, 2, 1, 3])
        self.assertEqual((told.list.is_yours, told.list.count, told.list.guesses_left), (True, 4, 3))
        self.assertEqual(told.list.version, client.status().realms[0].version)
        self.assertEqual(told.list.newest[0].time.year // 100, 20)
        stranger, = strongroom.Client(REALM.configuration, {}).attempts().realms
        self.assertEqual((stranger.list, stranger.cause.kind), (None, strongroom.Cause.INVALID_AUTH))

    def test_the_pin_is_changed_and_nothing_is_left_to_repair(self):
        tokens = REALM.tokens()
        client = strongroom.Client(REALM.configuration, tokens)
        client.register(PIN, SECRET, num_guesses=3)
        with self.assertRaises(strongroom.StrongroomError) as wrong:
            client.change_pin("0000", "7305")
        self.assertEqual((wrong.exception.operation, wrong.exception.guesses_remaining), (strongroom.Operation.CHANGE_PIN, 2))
        client.change_pin(PIN, "7305")
        with self.assertRaises(strongroom.StrongroomError):
            client.recover(PIN)
        self.assertEqual(client.recover("7305"), SECRET)
        repaired = client.repair("7305")
        self.assertTrue(repaired.is_whole)
        self.assertEqual([(one.realm, one.mended, one.cause) for one in repaired.realms], [(REALM.id, strongroom.Mended.NOTHING, None)])

        async def back():
            async with strongroom.AsyncClient(REALM.configuration, tokens) as other:
                await other.change_pin("7305", PIN)
                return await other.repair(PIN)
        self.assertEqual(asyncio.run(back()), repaired)
        client.close()

    def test_nothing_secret_is_printed(self):
        tokens = REALM.tokens()
        for client in (strongroom.Client(REALM.configuration, tokens), strongroom.AsyncClient(REALM.configuration, tokens)):
            self.assertIn(REALM.id, repr(client))
            self.assertNotIn(tokens[REALM.id], repr(client))

    def test_threads_use_one_client_at_once(self):
        tokens, secrets = REALM.tokens(), []
        client = strongroom.Client(REALM.configuration, tokens)
        client.register(PIN, SECRET, num_guesses=9)
        threads = [threading.Thread(target=lambda: secrets.append(client.recover(PIN))) for _ in range(3)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        self.assertEqual(secrets, [SECRET] * 3)

    def test_the_example_runs(self):
        (REALM.path / "token").write_text(REALM.token("example"))
        program = "import sys, runpy; sys.path.insert(0, sys.argv.pop(1)); import native; sys.argv.pop(0); runpy.run_path(sys.argv[0], run_name='__main__')"
        run = subprocess.run([sys.executable, "-c", program, str(Path(__file__).parent), str(EXAMPLE), str(REALM.path / "configuration.json"),
                              str(REALM.path / "token")], capture_output=True, text=True)
        self.assertEqual(run.stderr, "")
        self.assertIn("4 guesses are left", run.stdout)
        self.assertIn("recovered 28 bytes", run.stdout)


class Asynchronous(unittest.IsolatedAsyncioTestCase):
    async def test_the_same_is_awaited(self):
        token = REALM.token("awaited")

        async def tokens(_):
            await asyncio.sleep(0)
            return token
        async with strongroom.AsyncClient(REALM.configuration, tokens) as client:
            await client.register(PIN, SECRET, num_guesses=3)
            with self.assertRaises(strongroom.StrongroomError) as raised:
                await client.recover("0000")
            self.assertEqual(raised.exception.guesses_remaining, 2)
            self.assertEqual(await asyncio.gather(*[client.recover(PIN) for _ in range(2)]), [SECRET] * 2)
            self.assertEqual((await client.status()).summary, strongroom.Summary.REGISTERED)
            await client.delete()

    async def test_a_cancelled_task_ends_the_operation(self):
        begun = asyncio.Event()

        async def never(_):
            begun.set()
            await asyncio.Event().wait()
        client = strongroom.AsyncClient(REALM.configuration, never)
        task = asyncio.ensure_future(client.recover(PIN))
        await begun.wait()
        task.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await task

    async def test_what_the_source_of_tokens_raises_comes_out(self):
        async def broken(_):
            raise LookupError("signed out")
        with self.assertRaisesRegex(LookupError, "signed out"):
            await strongroom.AsyncClient(REALM.configuration, broken).delete()


if __name__ == "__main__":
    unittest.main()
