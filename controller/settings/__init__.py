"""The machine's side of the configuration: credentials, hooks, paths, ports. Never from Git.

Read once by `cli` and `app` from a TOML file and a few environment variables, then passed on as frozen values; nobody imports
a setting as a value. Git may *name* a credential or a hook; what the name means, and to which endpoints a secret may be sent,
is decided here.
"""

from controller.settings.credentials import Credential
from controller.settings.git import CommitStatusSettings, GitSettings, VerifySettings, WakeUpSettings
from controller.settings.hooks import Hook, Poll, Webhook
from controller.settings.http import TOKEN_LENGTH, HttpSettings
from controller.settings.table import Secret, SettingsError
from controller.settings.targets import Sink, SinkType, Target
from controller.settings.whole import DEFAULT_FILE, GIT_FOLDER, LogSettings, LoopSettings, Settings, load

__all__ = [
    "DEFAULT_FILE",
    "GIT_FOLDER",
    "TOKEN_LENGTH",
    "CommitStatusSettings",
    "Credential",
    "GitSettings",
    "Hook",
    "HttpSettings",
    "LogSettings",
    "LoopSettings",
    "Poll",
    "Secret",
    "Settings",
    "SettingsError",
    "Sink",
    "SinkType",
    "Target",
    "VerifySettings",
    "WakeUpSettings",
    "Webhook",
    "load",
]
