"""With `verify` nothing comes into force that the trusted keys do not vouch for, whoever holds the server."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from controller.model.reasons import Why
from controller.settings import VerifySettings
from tests.sources.git.repo import GpgKey, Repository, SshKey
from tests.sources.git.test_source import Reader
from tests.sources.writing import cluster, node


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "remote").make()


@pytest.fixture
def ada(tmp_path: Path) -> SshKey:
    return SshKey(tmp_path, "ada")


@pytest.fixture
def eve(tmp_path: Path) -> SshKey:
    return SshKey(tmp_path, "eve")


@pytest.fixture
def signers(tmp_path: Path, ada: SshKey) -> Path:
    file = tmp_path / "allowed_signers"
    file.write_text(f'ada@example.org namespaces="git" {ada.public}\n')
    return file


@pytest.fixture
def reader(repo: Repository, tmp_path: Path, signers: Path) -> Callable[..., Reader]:
    verify = VerifySettings(ssh_allowed_signers=signers)
    return lambda **changes: Reader(repo, tmp_path / "state", **{"verify": verify, **changes})


def sign(repo: Repository, key: SshKey | None, message: str, **files: str) -> str:
    """Commit, signed with `key`, and push."""
    for name, text in files.items():
        (repo.work / f"{name}.yaml").write_text(text)
    repo.git("add", "-A")
    repo.git(*(key.options if key is not None else ()), "commit", "-q", "--allow-empty", "-m", message)
    return repo.push()


def test_a_signed_commit_is_in_force_and_says_who_signed(
    repo: Repository, reader: Callable[..., Reader], ada: SshKey
) -> None:
    sign(repo, ada, "Begin", a=cluster())
    one = reader()
    assert one.names() == {"default"}
    applied = one.source.view.applied
    assert applied is not None
    assert applied.signer == "ada@example.org"
    assert applied.key.startswith("SHA256:")


def test_an_unsigned_commit_is_refused_and_the_last_good_revision_stays(
    repo: Repository, reader: Callable[..., Reader], ada: SshKey
) -> None:
    good = sign(repo, ada, "Begin", a=cluster())
    one = reader()
    one.read()
    bad = sign(repo, None, "Sneak", b=node("pve1", "true"))
    assert one.names() == {"default"}
    assert one.why == Why.NOT_SIGNED
    assert one.source.view.refused
    assert f"commit {bad[:12]} by Ada (Sneak) is not signed; commit {good[:12]} stays in force" in one.message
    again = reader()
    assert again.names() == {"default"}
    assert again.names() == {"default"}
    assert again.why == Why.NOT_SIGNED


def test_an_unsigned_commit_below_a_signed_one_is_refused_until_it_is_mended(
    repo: Repository, reader: Callable[..., Reader], ada: SshKey
) -> None:
    sign(repo, ada, "Begin", a=cluster())
    one = reader()
    one.read()
    hidden = sign(repo, None, "Hidden", b=node("pve1"))
    sign(repo, ada, "On top", c=node("pve2"))
    assert one.names() == {"default"}
    assert one.why == Why.NOT_SIGNED
    assert hidden[:12] in one.message
    repo.git(*ada.options, "rebase", "-q", "--force-rebase", "HEAD~2")
    repo.push()
    assert one.names() == {"default", "pve1", "pve2"}
    assert one.why == Why.REVISION_APPLIED


def test_every_side_of_a_merge_is_verified(repo: Repository, reader: Callable[..., Reader], ada: SshKey) -> None:
    begin = sign(repo, ada, "Begin", a=cluster())
    one = reader()
    one.read()
    repo.git("checkout", "-q", "-b", "side")
    (repo.work / "b.yaml").write_text(node("pve1"))
    repo.git("add", "-A")
    repo.git("commit", "-q", "-m", "Side, unsigned")
    repo.git("checkout", "-q", "-B", "main", begin)
    sign(repo, ada, "Straight", c=node("pve2"))
    repo.git(*ada.options, "merge", "-q", "--no-ff", "-S", "-m", "Merge side", "side")
    repo.push()
    assert one.names() == {"default", "pve2"} - {"pve2"}
    assert one.why == Why.NOT_SIGNED
    assert "Side, unsigned" in one.message


def test_a_foreign_key_is_no_signature(
    repo: Repository, reader: Callable[..., Reader], ada: SshKey, eve: SshKey, signers: Path
) -> None:
    sign(repo, ada, "Begin", a=cluster())
    one = reader()
    one.read()
    sign(repo, eve, "By Eve", b=node("pve1"))
    assert one.names() == {"default"}
    assert one.why == Why.SIGNER_NOT_TRUSTED
    signers.write_text(signers.read_text() + f"eve@example.org {eve.public}\n")
    assert one.names() == {"default", "pve1"}, "whom the file trusts from now on is believed at the next look"


def test_a_commit_changed_after_signing_is_called_forged(
    repo: Repository, reader: Callable[..., Reader], ada: SshKey
) -> None:
    sign(repo, ada, "Begin", a=cluster())
    one = reader()
    one.read()
    sign(repo, ada, "Honest", b=node("pve1"))
    raw = repo.git("cat-file", "commit", "HEAD").replace("Honest", "Forged")
    (repo.folder / "raw").write_text(raw + "\n")
    forged = repo.git("hash-object", "-t", "commit", "-w", str(repo.folder / "raw"))
    repo.git("update-ref", "refs/heads/main", forged)
    repo.git("push", "-q", "-f", "origin", f"{forged}:refs/heads/main")
    assert one.names() == {"default"}
    assert one.why == Why.BAD_SIGNATURE
    assert "Forged" in one.message


def test_an_expired_key_signs_nothing_even_with_a_date_of_long_ago(
    repo: Repository, reader: Callable[..., Reader], ada: SshKey, signers: Path
) -> None:
    sign(repo, ada, "Begin", a=cluster())
    one = reader()
    one.read()
    signers.write_text(f'ada@example.org valid-before="20200101Z" {ada.public}\n')
    (repo.work / "b.yaml").write_text(node("pve1"))
    repo.git("add", "-A")
    repo.git(*ada.options, "commit", "-q", "-m", "Backdated", GIT_COMMITTER_DATE="2019-06-01T00:00:00Z")
    repo.push()
    assert one.names() == {"default"}
    assert one.why == Why.SIGNER_NOT_TRUSTED


def test_a_revoked_key_signs_nothing(
    repo: Repository, reader: Callable[..., Reader], ada: SshKey, signers: Path, tmp_path: Path
) -> None:
    revoked = tmp_path / "revoked"
    revoked.write_text("")
    verify = VerifySettings(ssh_allowed_signers=signers, ssh_revoked_keys=revoked)
    sign(repo, ada, "Begin", a=cluster())
    one = reader(verify=verify)
    assert one.names() == {"default"}
    revoked.write_text(ada.public + "\n")
    sign(repo, ada, "After the theft", b=node("pve1"))
    assert one.names() == {"default"}
    assert one.why in (Why.SIGNER_NOT_TRUSTED, Why.BAD_SIGNATURE)
    revoked.unlink()
    assert one.names() == {"default"}
    assert one.why == Why.GIT_FAILED, "a list of revoked keys that is gone is not an empty one"


def test_a_rewritten_history_waits_for_a_word_however_well_it_is_signed(
    repo: Repository, reader: Callable[..., Reader], ada: SshKey
) -> None:
    old = sign(repo, ada, "Begin", a=cluster())
    sign(repo, ada, "Maintenance", b=node("pve1", "true"))
    one = reader()
    assert one.names() == {"default", "pve1"}
    repo.git("reset", "-q", "--hard", old)
    repo.push()
    assert one.names() == {"default", "pve1"}
    assert one.why == Why.HISTORY_REWRITTEN
    assert one.source.view.awaiting == old[:12]
    assert f"drover confirm {old[:12]}" in one.message
    assert not one.source.confirm("0" * 12)
    assert one.source.confirm(old[:12])
    assert one.names() == {"default"}
    assert one.source.view.awaiting == ""


def test_an_unrelated_history_is_verified_to_its_root(
    repo: Repository, reader: Callable[..., Reader], ada: SshKey
) -> None:
    sign(repo, ada, "Begin", a=cluster())
    one = reader()
    one.read()
    repo.git("checkout", "-q", "--orphan", "other")
    sign(repo, None, "Root, unsigned", b=node("pve1"))
    sign(repo, ada, "Signed tip")
    assert one.names() == {"default"}
    assert one.why == Why.NOT_SIGNED
    assert "Root, unsigned" in one.message


def test_of_the_first_revision_ever_the_newest_commit_vouches_for_what_is_below(
    repo: Repository, reader: Callable[..., Reader], ada: SshKey
) -> None:
    sign(repo, None, "Before anybody signed", a=cluster())
    one = reader()
    one.read()
    assert one.why == Why.NOT_SIGNED
    assert "nothing is in force" in one.message
    sign(repo, ada, "From now on signed")
    assert one.names() == {"default"}


def test_verification_that_is_switched_on_looks_at_what_is_in_force_already(
    repo: Repository, reader: Callable[..., Reader], ada: SshKey
) -> None:
    sign(repo, None, "Begin", a=cluster())
    assert reader(verify=None).names() == {"default"}
    one = reader()
    one.read()
    assert one.names() == {"default"}
    assert one.why == Why.NOT_SIGNED
    sign(repo, ada, "Signed", b=node("pve1"))
    assert one.names() == {"default", "pve1"}


def test_a_tag_has_to_be_signed_itself_and_under_its_own_name(
    repo: Repository, reader: Callable[..., Reader], ada: SshKey, eve: SshKey
) -> None:
    sign(repo, ada, "Begin", a=cluster())
    tag = ("-c", f"user.signingKey={ada.file}", "-c", "gpg.format=ssh", "tag")
    repo.git(*tag, "-s", "-m", "old", "v1")
    repo.git("push", "-q", "origin", "v1")
    one = reader(ref="v1")
    assert one.names() == {"default"}
    sign(repo, ada, "More", b=node("pve1"))
    repo.git("tag", "-f", "v1")
    repo.git("push", "-q", "-f", "origin", "v1")
    assert one.names() == {"default"}
    assert one.why == Why.NOT_SIGNED
    repo.git("tag", "-f", "-a", "-m", "unsigned", "v1")
    repo.git("push", "-q", "-f", "origin", "v1")
    one.read()
    assert one.why == Why.NOT_SIGNED
    repo.git("-c", f"user.signingKey={eve.file}", "-c", "gpg.format=ssh", "tag", "-f", "-s", "-m", "Eve", "v1")
    repo.git("push", "-q", "-f", "origin", "v1")
    one.read()
    assert one.why == Why.SIGNER_NOT_TRUSTED
    repo.git(*tag, "-s", "-m", "another", "v2")
    repo.git("push", "-q", "-f", "origin", "v2:v1")
    one.read()
    assert one.why == Why.BAD_SIGNATURE
    assert "under another name" in one.message
    repo.git(*tag, "-f", "-s", "-m", "new", "v1")
    repo.git("push", "-q", "-f", "origin", "v1")
    assert one.names() == {"default", "pve1"}
    assert one.why == Why.TAG_MOVED


@pytest.fixture
def grace(tmp_path: Path) -> Iterator[GpgKey]:
    key = GpgKey(tmp_path / "gpg", "grace")
    yield key
    key.close()


def test_gpg_signed_commits_are_held_against_the_keyring(
    repo: Repository, reader: Callable[..., Reader], grace: GpgKey, ada: SshKey, tmp_path: Path
) -> None:
    keyring = grace.export(tmp_path / "keys.gpg")
    verify = VerifySettings(gpg_keyring=keyring)

    def commit(name: str, *options: str) -> None:
        (repo.work / f"{name}.yaml").write_text(cluster() if name == "a" else node(name))
        repo.git("add", "-A")
        signing = ("-c", "user.signingKey=grace@example.org")
        repo.git(*(options or signing), "commit", "-q", "-S", "-m", name, GNUPGHOME=str(grace.home))
        repo.push()

    commit("a")
    one = reader(verify=verify)
    assert one.names() == {"default"}
    applied = one.source.view.applied
    assert applied is not None
    assert applied.signer == "grace <grace@example.org>"
    commit("by-ssh", *ada.options)
    assert one.names() == {"default"}
    assert one.why == Why.SIGNER_NOT_TRUSTED
    repo.git("reset", "-q", "--hard", "HEAD~1")
    commit("b")
    assert one.names() == {"default", "b"}
    for name in ("good", "live"):
        signing = ("-c", "user.signingKey=grace@example.org", "tag", "-s", "-m", name, name)
        repo.git(*signing, GNUPGHOME=str(grace.home))
    repo.git("push", "-q", "origin", "good", "live")
    by_tag = reader(verify=verify, ref="good")
    by_tag.read()
    assert by_tag.names() == {"default", "b"}
    assert by_tag.why == Why.REVISION_APPLIED
    # A revocation that reaches the keyring counts for what is new.
    certificate = (grace.home / "openpgp-revocs.d").glob("*.rev")
    text = next(certificate).read_text().replace(":-----BEGIN", "-----BEGIN")
    (tmp_path / "revocation").write_text(text)
    commit("c")
    grace.gpg("--import", str(tmp_path / "revocation"))
    grace.export(keyring)
    assert one.names() == {"default", "b"}
    assert one.why == Why.SIGNER_NOT_TRUSTED
    assert "revoked" in one.message
    tagged = reader(verify=verify, ref="live")
    tagged.read()
    assert tagged.names() == {"default", "b"}
    assert tagged.why == Why.SIGNER_NOT_TRUSTED
    assert "tag live is signed with a key that was revoked" in tagged.message
    by_ssh = tmp_path / "signers"
    by_ssh.write_text(f"ada@example.org {ada.public}\n")
    other = reader(verify=VerifySettings(ssh_allowed_signers=by_ssh))
    other.read()
    assert other.names() == {"default", "b"}
    assert other.why in (Why.SIGNER_NOT_TRUSTED, Why.NOT_SIGNED), "a gpg signature is none where ssh keys are asked for"
    keyring.write_text("no keys")
    one.read()
    assert one.why == Why.GIT_FAILED
    assert "holds no keys" in one.message
