"""What administrators say: people, roles, locks, preferences, allowances, tokens of SCIM."""

from jitgate.v1 import administration_pb2 as administration
from jitgate.v1 import allowance_pb2 as allowance
from jitgate.v1 import identity_pb2
from jitgate.v1 import scim_pb2 as scim
from tests.clients.conftest import Jit
from tests.clients.standin import StandIn


def test_roles_are_granted_to_one_holder(server: StandIn, jit: Jit) -> None:
    done = jit(
        "roles", "grant", "policy_administrator", "--group", "sre", "--account", "*", "--policy-kind", "deny"
    )
    assert done.returncode == 0
    grant = server.world.asked("GrantRole")[0].grant
    assert (grant.group_id, grant.role, grant.account) == ("sre", identity_pb2.ROLE_POLICY_ADMINISTRATOR, "*")
    assert list(grant.policy_kinds) == [identity_pb2.POLICY_KIND_DENY]
    assert jit("roles", "grant", "user").returncode == 2
    assert jit("roles", "grant", "user", "--user", "a", "--group", "b").returncode == 2


def test_a_first_password_is_shown_once(server: StandIn, jit: Jit) -> None:
    server.world.answers["CreateUser"] = lambda _, request: administration.CreateUserResponse(
        user=administration.User(id=request.id), initial_password="first-secret"
    )
    assert "first-secret" in jit("users", "add", "carol", "--group", "sre", "--attribute", "costCenter=7").stdout
    asked = server.world.asked("CreateUser")[0]
    assert (list(asked.groups), dict(asked.attributes)) == (["sre"], {"costCenter": "7"})


def test_what_can_not_be_undone_asks_first(server: StandIn, jit: Jit) -> None:
    assert jit("users", "remove", "carol").returncode == 2
    assert jit("nodes", "remove", "web-1").returncode == 2
    assert jit("policies", "delete", "databases").returncode == 2
    assert not server.world.asked("RemoveUser")
    assert jit("users", "remove", "carol", "--yes").returncode == 0
    assert server.world.asked("RemoveUser")[0].id == "carol"


def test_locks_name_a_user_or_a_node(server: StandIn, jit: Jit) -> None:
    assert jit("lock", "--user", "carol", "--reason", "laptop stolen").returncode == 0
    assert jit("unlock", "--node", "web-1").returncode == 0
    assert server.world.asked("Lock")[0].user_id == "carol"
    assert server.world.asked("Unlock")[0].node == "web-1"
    assert jit("lock", "--reason", "x").returncode == 2


def test_preferences_change_only_what_is_given(server: StandIn, jit: Jit) -> None:
    before = administration.Preferences(idle_timeout_minutes=5, run_as="ops")
    server.world.answers["GetPreferences"] = lambda *_: administration.GetPreferencesResponse(preferences=before)
    assert jit("preferences", "set", "--maximum-duration", "60", "--recording", "best-effort").returncode == 0
    asked = server.world.asked("PutPreferences")[0].preferences
    assert (asked.maximum_duration_minutes, asked.idle_timeout_minutes, asked.run_as) == (60, 5, "ops")
    assert asked.recording == administration.RECORDING_MODE_BEST_EFFORT


def test_preferences_choose_a_place_and_keep_what_is_not_given_of_it(server: StandIn, jit: Jit) -> None:
    before = administration.Preferences(
        recording_place=administration.RecordingPlace(bucket="b", role="r", key="k")
    )
    server.world.answers["GetPreferences"] = lambda *_: administration.GetPreferencesResponse(preferences=before)
    given = ("--key", "", "--retention", "compliance:400", "--log", "--log-group", "arn")
    assert jit("preferences", "set", *given).returncode == 0
    asked = server.world.asked("PutPreferences")[0].preferences
    place = asked.recording_place
    assert (place.bucket, place.role, place.key, place.retention_days) == ("b", "r", "", 400)
    assert place.retention_mode == administration.RETENTION_MODE_COMPLIANCE
    assert (asked.log_sessions, asked.log_group) == (True, "arn")
    assert jit("preferences", "set", "--retention", "none", "--no-log").returncode == 0
    assert server.world.asked("PutPreferences")[1].preferences.recording_place.retention_days == 0
    for wrong in ("governance", "governance:x", "forever:3", "none:3", "400"):
        assert jit("preferences", "set", "--retention", wrong).returncode == 2
    assert "k" in jit("preferences", "show").stdout


def test_allowances_are_added_shown_and_withdrawn(server: StandIn, jit: Jit) -> None:
    server.world.answers["Allow"] = lambda _, asked: allowance.AllowResponse(allowance=asked.allowance)
    more = ("--owner", "123456789012", "--aws-region", "us-east-1", "--account", "shop")
    done = jit("allowances", "add", "bucket", "recordings", *more)
    assert done.returncode == 0
    assert "123456789012 us-east-1" in done.stdout
    asked = server.world.asked("Allow")[0].allowance
    assert (asked.account, asked.kind, asked.name) == ("shop", allowance.ALLOWANCE_KIND_BUCKET, "recordings")
    assert jit("allowances", "remove", "log-group", "arn:x", "--yes").returncode == 0
    assert server.world.asked("Disallow")[0].kind == allowance.ALLOWANCE_KIND_LOG_GROUP
    assert jit("allowances", "remove", "log-group", "arn:x").returncode != 0  # nobody is there to be asked
    assert len(server.world.asked("Disallow")) == 1
    assert jit("allowances", "add", "user", "x").returncode == 2


def test_tokens_of_scim_are_made_shown_and_deleted(server: StandIn, jit: Jit) -> None:
    token = scim.ScimToken(id="scim-0123456789ab", provider="corp", issuer="https://login.example.com")
    server.world.answers["CreateScimToken"] = lambda _, asked: scim.CreateScimTokenResponse(
        scim_token=token, token="jgscim_secret"
    )
    server.world.answers["ListScimTokens"] = lambda _, asked: scim.ListScimTokensResponse(scim_tokens=[token])
    done = jit("scim", "create", "corp", "--days", "30")
    assert done.returncode == 0
    assert "jgscim_secret" in done.stdout
    assert "not shown again" in done.stderr
    asked = server.world.asked("CreateScimToken")[0]
    assert (asked.provider, asked.days) == ("corp", 30)
    shown = jit("scim", "list").stdout
    assert "scim-0123456789ab" in shown
    assert "never" in shown
    assert jit("scim", "delete", token.id, "--yes").returncode == 0
    assert server.world.asked("DeleteScimToken")[0].id == token.id
    assert jit("scim", "delete", token.id).returncode != 0  # nobody is there to be asked
    assert jit("scim", "create", "corp", "--days", "2000").returncode == 2
