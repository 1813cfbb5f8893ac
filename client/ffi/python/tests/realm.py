"""A realm of `strongroom-sim serve` for the tests: `STRONGROOM_SIM` names the program."""
import json
import os
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

import jwt


class Realm:
    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name)
        self.process = subprocess.Popen([os.environ["STRONGROOM_SIM"], "serve", "--keep", self.folder.name, "--listen", "127.0.0.1:0"],
                                        stdout=subprocess.PIPE, text=True)
        for line in self.process.stdout:
            if line.startswith("Ctrl-C"):
                break
        else:
            raise SystemExit("the realm does not start")
        self.configuration = (self.path / "configuration.json").read_text()
        self.id = json.loads(self.configuration)["realms"][0]["id"]
        self.key = bytes.fromhex((self.path / "tenants.toml").read_text().split('key = "')[1].split('"')[0])

    def token(self, user, life=600):
        """As `docs/apps.md` makes one."""
        now = int(time.time())
        claims = {"iss": "test-local", "sub": user, "aud": self.id, "nbf": now, "exp": now + life, "scope": "user"}
        return jwt.encode(claims, self.key, algorithm="HS256", headers={"kid": "test-local:1"})

    def tokens(self):
        return {self.id: self.token(str(uuid.uuid4()))}

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()
        self.folder.cleanup()
