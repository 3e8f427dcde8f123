"""The image of nodes: what the script that they start with refers to is what the image's script makes."""

import gzip
import json
import os
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

from provision_worker.hosting.dump import Place, Source, script
from provision_worker.hosting.image import PLACES, build_script, text_of

NODE = files("provision_worker.hosting").joinpath("node.sh").read_text(encoding="utf-8")


def test_a_shell_would_run_the_script_that_the_command_prints() -> None:
    command = [sys.executable, "-m", "provision_worker.hosting.image"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed == build_script()
    assert subprocess.run(["sh", "-n"], input=printed, text=True, check=False).returncode == 0


def test_whatever_a_node_looks_for_is_in_the_image() -> None:
    script = build_script()
    wanted = set(re.findall(r"/opt/[a-z]+(?:/[a-z]+\.[a-z]+)?", NODE))
    assert wanted == {"/opt/wordpress", "/opt/provision/login.php", "/opt/provision/nginx.conf"}
    assert {path for path in wanted if path not in script} == set()
    assert set(PLACES.values()) >= wanted - {"/opt/wordpress"}


def test_a_node_fills_in_everything_of_its_web_server() -> None:
    filled = set(re.findall(r"s\|(@[A-Z]+@)\|", NODE))
    assert filled == set(re.findall(r"@[A-Z]+@", text_of("nginx.conf")))


def test_the_agent_tells_what_the_converger_asks_for() -> None:
    metrics = json.loads(text_of("agent.json"))["metrics"]
    assert (metrics["namespace"], metrics["aggregation_dimensions"]) == ("CWAgent", [["AutoScalingGroupName"]])
    assert metrics["metrics_collected"]["mem"]["measurement"] == ["mem_used_percent"]


def test_the_log_in_of_a_link_asks_at_the_path_that_the_api_has() -> None:
    assert "PROVISION_API . '/wpaas-login'" in text_of("login.php")


def test_a_dump_gets_its_name_when_it_is_complete_and_the_machine_ends_whatever_happens(tmp_path: Path) -> None:
    """The script with stand-ins for what the image has and this machine need not."""
    ran = tmp_path / "ran"
    stand_ins = {
        "aws": 'case "$*" in *get-secret-value*) echo "{}" ;; *" cp "*) cat > "$0.part" ;; esac',
        "jq": "echo master-or-password",
        "mysqldump": "echo 'CREATE TABLE'; exit ${BROKEN:-0}",
        "shutdown": "",
    }
    for name, text in stand_ins.items():
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {ran}\n{text}\n')
        (tmp_path / name).chmod(0o755)
    made = script("us-east-1", Source("db.test", "arn:secret", 20), Place("artifacts", "dumps/wp-1/2.sql.gz"))
    for broken in (0, 1):
        ran.write_text("")
        environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "BROKEN": str(broken)}
        done = subprocess.run(["bash"], input=made, text=True, env=environment, capture_output=True, check=False)
        lines = ran.read_text().splitlines()
        assert (done.returncode, lines[-1]) == (broken, "shutdown -h now")
        moved = (
            "aws s3 mv s3://artifacts/dumps/wp-1/2.sql.gz.part s3://artifacts/dumps/wp-1/2.sql.gz --only-show-errors"
        )
        assert (moved in lines) == (not broken)
        assert "master-or-password" not in done.stdout + done.stderr + "".join(lines)
    assert gzip.decompress((tmp_path / "aws.part").read_bytes()) == b"CREATE TABLE\n"
