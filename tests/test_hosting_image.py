"""The image of nodes: what the script that they start with refers to is what the image's script makes."""

import json
import re
import subprocess
import sys
from importlib.resources import files

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
