"""What a user sees of a mistake: one clear line, exit status 2, and nothing is harmed."""

from pathlib import Path

from tests.running import free_port, run_job

GOOD = ["--policy", "random", "--seeds", "0-3"]


def refused(*arguments: str, env: dict[str, str] | None = None) -> str:
    """The one line that a refused job leaves."""
    done = run_job("collect", *arguments, env=env)
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert "Traceback" not in done.stdout + done.stderr
    return line


def test_unknown_setting(tmp_path: Path) -> None:
    line = refused(*GOOD, "--output", str(tmp_path / "run"), "--env.lenght", "9")
    assert line == "error: unknown setting 'env.lenght'; the nearest is 'env.length'"


def test_wrong_type(tmp_path: Path) -> None:
    line = refused(*GOOD, "--output", str(tmp_path / "run"), "--env.length", "long")
    assert line.startswith("error: env.length: Input should be a valid integer")


def test_empty_seed_list(tmp_path: Path) -> None:
    line = refused("--policy", "random", "--seeds", "[]", "--output", str(tmp_path / "run"))
    assert "the seed list is empty" in line
    assert not (tmp_path / "run").exists()


def test_unwritable_output() -> None:
    assert "can't write to output /proc/pickaxe" in refused(*GOOD, "--output", "/proc/pickaxe")


def test_missing_model_folder(tmp_path: Path) -> None:
    policy = ["--policy.kind", "vllm", "--policy.model", "configs/models/nowhere"]
    offline = {"HF_HUB_OFFLINE": "1"}
    line = refused(*policy, "--seeds", "0", "--output", str(tmp_path / "run"), env=offline)
    assert "model configs/models/nowhere is neither a folder here nor" in line


def test_unreachable_endpoint(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    policy = ["--policy.kind", "openai", "--policy.model", "gpt-4o", "--policy.base_url", url]
    key = {"OPENAI_API_KEY": "sk-never-shown"}
    line = refused(*policy, "--seeds", "0", "--output", str(tmp_path / "run"), env=key)
    assert url in line
    assert "check base_url" in line
    assert "sk-never-shown" not in line


def test_missing_key(tmp_path: Path) -> None:
    policy = ["--policy.kind", "openai", "--policy.model", "gpt-4o"]
    absent = {"OPENAI_API_KEY": ""}
    line = refused(*policy, "--seeds", "0", "--output", str(tmp_path / "run"), env=absent)
    assert "set the environment variable OPENAI_API_KEY" in line


def test_unreachable_cluster(tmp_path: Path) -> None:
    address = ["--cluster.address", f"127.0.0.1:{free_port()}"]
    done = run_job("collect", *GOOD, *address, "--output", str(tmp_path / "run"))
    assert done.returncode == 2
    assert "can't reach Ray at cluster.address" in done.stderr.splitlines()[-1]


def test_a_run_of_another_configuration_is_not_harmed(tmp_path: Path) -> None:
    output = tmp_path / "run"
    output.mkdir()
    stored = output / "config.toml"
    stored.write_text('output = "elsewhere"\nseeds = [1]\npolicy = "random"\n')
    (output / "part.parquet").write_text("play")
    before = stored.read_text()
    assert "holds a run with another configuration" in refused(*GOOD, "--output", str(output))
    assert stored.read_text() == before


def test_help_is_given_when_nothing_is() -> None:
    done = run_job("collect")
    assert done.returncode == 2
    assert "--policy.temperature" in done.stdout
