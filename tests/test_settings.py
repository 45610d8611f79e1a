"""Settings: what is wrong is named with file and key, a secret never shows, the environment wins over the file."""

import re
from pathlib import Path

import pytest

from controller.settings import Poll, Secret, Settings, SettingsError, load

TOKEN = """
[credentials.home]
tokenId = "drover@pve!main"
endpoints = ["https://pve1.example.org:8006"]
"""
SECRET = "3f7a5c1e-planted-in-a-test"


def settings(folder: Path, text: str, **env: str) -> Settings:
    file = folder / "drover.toml"
    file.write_text(text)
    return load(file, env)


def test_without_a_file_everything_has_a_default(tmp_path: Path) -> None:
    assert settings(tmp_path, "") == Settings()


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    text = 'source = "here"\nstateDirectory = "here"\nsocket = "here"\nhttp.listen = "127.0.0.1:1"'
    given = settings(
        tmp_path, text, DROVER_SOURCE="/a", DROVER_STATE="/b", DROVER_SOCKET="/c", DROVER_LISTEN="[::1]:9999"
    )
    assert (given.source, given.state_directory, given.socket) == (Path("/a"), Path("/b"), Path("/c"))
    assert (given.http.host, given.http.port) == ("::1", 9999)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sauce = 'x'", "sauce: is not a setting; known here: "),
        ("source = 7", "source: has to be a string, not int"),
        ("[http]\nlisten = 'everywhere'", "http.listen: 'everywhere' is not an address; use HOST:PORT"),
        ("[log]\nlevel = 'loud'", "log.level: 'loud' is not known; one of debug, info, warning, error"),
        ("[loop]\nintervalSeconds = 0", "loop.intervalSeconds: has to be a number of at least 1"),
        (TOKEN, "credentials.home.secretFile: exactly one of secretFile, secretEnv and secret has to be given"),
        (
            TOKEN + "secretEnv = 'NOT_THERE'",
            "credentials.home.secretEnv: the environment variable NOT_THERE is not set",
        ),
        (TOKEN + "secret = 'x'\nport = 1", "credentials.home.port: is not a setting"),
        (TOKEN.replace("!main", "") + "secret = 'x'", "credentials.home.tokenId: 'drover@pve' is not a token id"),
        (TOKEN.replace('"https://pve1.example.org:8006"', "") + "secret = 'x'", "endpoints: names no endpoint"),
        ("=", "not valid TOML"),
        ("[http]\nlisten = '127.0.0.1:²'", "is not an address"),
        ("[loop]\nintervalSeconds = nan", "has to be a number of at least 1"),
        ("[loop]\nintervalSeconds = inf", "has to be a number of at least 1"),
        (TOKEN + "secret = ''", "credentials.home.secret: holds no token's secret"),
        (TOKEN + "secret = 'two words'", "credentials.home.secret: holds no token's secret"),
    ],
)
def test_a_mistake_is_named_with_file_and_key(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'drover.toml'}: ")
    assert said in str(caught.value)


def test_a_secret_file_with_a_relative_name_is_found_beside_the_settings(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{SECRET}\n")
    given = settings(tmp_path, TOKEN + "secretFile = 'token'")
    assert given.credentials["home"].secret.reveal() == SECRET


def test_or_where_systemd_put_it(tmp_path: Path) -> None:
    handed_over = tmp_path / "credentials"
    handed_over.mkdir()
    (handed_over / "token").write_text(SECRET)
    given = settings(tmp_path, TOKEN + "secretFile = 'token'", CREDENTIALS_DIRECTORY=str(handed_over))
    assert given.credentials["home"].secret.reveal() == SECRET


def test_a_secret_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="nowhere can't be read: No such file or directory"):
        settings(tmp_path, TOKEN + "secretFile = '/nowhere'")


@pytest.mark.parametrize("content", [b"", b"\n", b"s3cret\ntwo\n", b"\xff\xfe\x00"])
def test_a_secret_file_without_a_secret_is_named_and_not_shown(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(SettingsError, match=r"credentials\.home\.secretFile: .*token's secret") as caught:
        settings(tmp_path, TOKEN + "secretFile = 'token'")
    assert "s3cret" not in str(caught.value)


def test_who_only_asks_the_daemon_need_not_read_its_secrets(tmp_path: Path) -> None:
    (tmp_path / "drover.toml").write_text(TOKEN + "secretFile = '/nowhere'\n[http]\nlisten = '127.0.0.1:1'")
    given = load(tmp_path / "drover.toml", {}, secrets=False)
    assert (given.http.port, dict(given.credentials)) == (1, {})


def test_a_secret_shows_only_when_asked(tmp_path: Path) -> None:
    given = settings(tmp_path, TOKEN + f"secret = '{SECRET}'")
    assert SECRET not in repr(given)
    assert str(Secret(SECRET)) == "Secret(****)"
    assert given.credentials["home"].secret.reveal() == SECRET


def test_a_user_with_a_password_stands_in_for_a_token(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("correct horse \n")
    user = TOKEN.replace('tokenId = "drover@pve!main"', 'user = "root@pam"')
    assert user != TOKEN
    given = settings(tmp_path, user + "secretFile = 'password'").credentials["home"]
    assert (given.login, given.is_token, given.secret.reveal()) == ("root@pam", False, "correct horse ")
    for text, said in (
        (user.replace("root@pam", "root@pam!x") + "secret = 'x'", "'root@pam!x' is not a user; use USER@REALM"),
        (TOKEN + 'user = "root@pam"\nsecret = "x"', "exactly one of tokenId and user"),
    ):
        with pytest.raises(SettingsError, match=re.escape(said)):
            settings(tmp_path, text)


AWX = """
[hooks.patch]
url = "https://awx.example.org/api/v2/job_templates/7/launch/"
tokenEnv = "AWX"
timeoutSeconds = 1800
body = {limit = "{node}"}
headers = {X-Api-Key = {valueEnv = "KEY"}}
poll = {urlField = "url", statusField = "status", done = ["successful"], failed = ["failed"]}
"""


def test_a_hook_can_be_a_webhook(tmp_path: Path) -> None:
    hook = settings(tmp_path, AWX, AWX="planted-1", KEY="planted-2").hooks["patch"]
    webhook = hook.webhook
    assert webhook is not None
    assert (hook.argv, hook.timeout_seconds, webhook.target.timeout_seconds) == ((), 1800, 1800)
    assert webhook.target.token is not None
    assert (webhook.target.token.reveal(), webhook.headers["X-Api-Key"].reveal()) == ("planted-1", "planted-2")
    assert webhook.body == {"limit": "{node}"}
    assert webhook.poll == Poll("url", "status", ("successful",), ("failed",))
    assert "planted" not in str(hook)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('command = ["true"]', "hooks.patch.command: a hook is a command or a webhook with a url, not both"),
        ("headers = {X = {}}", "hooks.patch.headers.X.value: a header is a name with exactly one of"),
        ('headers = {"a b" = {value = "c"}}', "hooks.patch.headers.a b.value: a header is a name with exactly one of"),
        ("poll = {urlField = 'url'}", "hooks.patch.poll.statusField: is missing"),
        ("body = 3", "hooks.patch.body: has to be a table"),
        ("retries = 3", "hooks.patch.retries: is not a setting"),
    ],
)
def test_a_mistake_in_a_webhook_is_named(tmp_path: Path, more: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said.replace(".", "[.]")):
        settings(tmp_path, f'[hooks.patch]\nurl = "https://awx.example.org/"\n{more}\n')


def test_who_only_asks_the_daemon_need_not_read_the_secrets_of_hooks(tmp_path: Path) -> None:
    (tmp_path / "drover.toml").write_text(AWX, encoding="utf-8")
    assert load(tmp_path / "drover.toml", {}, secrets=False).hooks == {}


GIT = '[source.git]\nurl = "https://git.example.org/ops/cluster.git"\n'


def test_a_repository_is_read_where_its_revision_in_force_is_kept(tmp_path: Path) -> None:
    (tmp_path / "git.token").write_text(SECRET + "\n")
    text = 'stateDirectory = "/state"\n' + GIT + 'path = "/lab/"\nref = "main"\ntokenFile = "git.token"\n'
    given = settings(tmp_path, text + '[source.git.verify]\nsshAllowedSignersFile = "signers"\n')
    assert given.source == Path("/state/source/current/lab")
    assert given.git is not None
    assert given.git.token is not None
    assert given.git.token.reveal() == SECRET
    assert given.git.verify is not None
    assert given.git.verify.ssh_allowed_signers == tmp_path / "signers"
    assert SECRET not in repr(given)
    assert settings(tmp_path, text, DROVER_SOURCE="/elsewhere").git is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[source]\nfolder = "x"\n', "source.git.url: is missing"),
        (GIT.replace("https://", "http://"), "source.git.url: 'http://git.example.org/ops/cluster.git' is not a place"),
        (GIT.replace("https://", "https://me:secret@"), "source.git.url: holds a user or a token; use username"),
        (GIT.replace("https://", "ext::sh -c "), "source.git.url: 'ext::sh"),
        (GIT + 'ref = "--upload-pack=x"', "source.git.ref: '--upload-pack=x' is not the name of a branch or tag"),
        (GIT + 'path = "../x"', "source.git.path: '../x' has to be a folder or file inside the repository"),
        (GIT + 'path = ".git"', "source.git.path: '.git' has to be"),
        (GIT + "branch = 'x'", "source.git.branch: is not a setting"),
        (GIT.replace("https://git.example.org/", "git@git.example.org:"), "source.git.sshKeyFile: is needed for SSH"),
        (GIT + "[source.git.verify]\n", "source.git.verify.gpgKeyringFile: exactly one of"),
        (
            GIT + "depth = 1\n[source.git.verify]\ngpgKeyringFile = 'x'",
            "source.git.depth: can't be limited with verify",
        ),
        (GIT + "[source.git.webhook]\nsecret = 'short'", "source.git.webhook.secretFile: exactly one of"),
        (
            GIT + "[source.git.commitStatus]\nkind = 'github'\nurl = 'https://api.github.com'\nrepository = 'a/b'",
            "source.git.commitStatus.tokenFile: exactly one of",
        ),
    ],
)
def test_a_repository_that_can_not_be_meant_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        settings(tmp_path, text)
    assert said in str(refused.value)
