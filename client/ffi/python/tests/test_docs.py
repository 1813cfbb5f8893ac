"""What `docs/apps.md` says to put on a server makes tokens that a realm takes."""
import native  # noqa: F401  first: it says which library

import os
import re
import shutil
import subprocess
import unittest
from pathlib import Path

import strongroom
from realm import Realm

DOCS = Path(__file__).parents[4] / "docs" / "apps.md"


def block(language, containing):
    blocks = re.findall(rf"```{language}\n(.*?)```", DOCS.read_text(), re.S)
    found = [text for text in blocks if containing in text]
    assert len(found) == 1, f"{len(found)} blocks in {language}"
    return found[0].replace('"acme"', '"test-local"')


class Tokens(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.realm = Realm()

    @classmethod
    def tearDownClass(cls):
        cls.realm.close()

    def takes(self, token):
        strongroom.Client(self.realm.configuration, {self.realm.id: token}).delete()

    def test_those_made_in_python(self):
        made = {}
        exec(block("python", "def token("), made)
        self.takes(made["token"]("docs", self.realm.id, self.realm.key))
        with self.assertRaises(strongroom.StrongroomError):
            self.takes(made["token"]("docs", self.realm.id, bytes(32)))

    @unittest.skipUnless(shutil.which("node") and os.environ.get("STRONGROOM_NODE_MODULES"), "needs node, and a folder with jose")
    def test_those_made_in_node(self):
        program = block("js", "export function token(") + "\nconst [user, realm, key] = process.argv.slice(2);\n" \
            "console.log(await token(user, realm, Buffer.from(key, 'hex')));\n"
        folder = Path(os.environ["STRONGROOM_NODE_MODULES"])
        (folder / "token.mjs").write_text(program)
        run = subprocess.run(["node", str(folder / "token.mjs"), "docs", self.realm.id, self.realm.key.hex()], capture_output=True,
                             text=True, check=True)
        self.takes(run.stdout.strip())


if __name__ == "__main__":
    unittest.main()
