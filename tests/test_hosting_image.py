"""The image of nodes: what the script that they start with refers to is what the image's script makes."""

import gzip
import json
import os
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

from provision_worker.hosting.act import Restored
from provision_worker.hosting.dump import Place, script
from provision_worker.hosting.image import PLACES, build_script, text_of
from provision_worker.hosting.model import Network, Site
from provision_worker.hosting.userdata import script as node_script

NODE = files("provision_worker.hosting").joinpath("node.sh").read_text(encoding="utf-8")


def test_a_shell_would_run_the_script_that_the_command_prints() -> None:
    command = [sys.executable, "-m", "provision_worker.hosting.image"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed == build_script()
    assert subprocess.run(["sh", "-n"], input=printed, text=True, check=False).returncode == 0


def test_whatever_a_node_looks_for_is_in_the_image() -> None:
    script = build_script()
    wanted = set(re.findall(r"/opt/[a-z]+(?:/[a-z]+\.[a-z]+)?", NODE))
    assert "systemctl start provision-guard" in NODE
    assert PLACES["guard.service"].endswith("/provision-guard.service")
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


STAND_INS = {
    "aws": "echo '{}'",
    "jq": """case "$2" in
        .admin_password) echo admin-secret ;;
        *salts*) echo "define('AUTH_KEY', 'salt');" ;;
        *) echo "$2" ;;
    esac""",
    "runuser": 'shift 3; case "$*" in *is-installed*) exit 1 ;; *install*) cat ;; esac',
    "openssl": "echo hashed",
    **dict.fromkeys(("chown", "flock", "mountpoint", "mysql", "systemctl"), "true"),
}


def stand_in(directory: Path, programs: dict[str, str]) -> dict[str, str]:
    """An environment in which programs only note in `ran` how they were called, and do what is said here."""
    for name, text in programs.items():
        (directory / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {directory}/ran\n{text}\n')
        (directory / name).chmod(0o755)
    return os.environ | {"PATH": f"{directory}:{os.environ['PATH']}"}


def test_a_node_writes_the_configuration_installs_once_as_no_root_and_tells_no_secret(tmp_path: Path) -> None:
    """The script with stand-ins for what the image has, and another root for its files."""
    network = Network("example.net", "Z", "vpc", ("a",), "ami", "artifacts", api_url="https://api.test")
    routes = ({"route": "v2", "basic_auth": True},)
    site = Site(
        id="1",
        key="wp-1",
        org_key="wp-o",
        name="shop",
        org="acm",
        cid="acm",
        hostname="shop.test",
        network=network,
        routes=routes,
    )
    root = tmp_path / "root"
    text = node_script(site, "us-east-1", "db.test", "fs-1", ())
    for place in ("/srv", "/etc", "/opt", "/run"):
        text = re.sub(rf"(?<![\w/]){place}(?=/)", f"{root}{place}", text)
    for folder in ("opt/wordpress/wp-content", "opt/provision", "etc/cron.d"):
        (root / folder).mkdir(parents=True)
    for name in ("nginx.conf", "login.php"):
        (root / "opt/provision" / name).write_text(text_of(name))
    done = subprocess.run(
        ["sh"], input=text, text=True, env=stand_in(tmp_path, STAND_INS), capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    ran = (tmp_path / "ran").read_text()
    assert "admin-secret" not in done.stdout + ran
    assert "runuser -u www-data -- wp core install" in ran
    assert not re.search("^wp ", ran, re.MULTILINE), "wp runs what the customer has written"
    config = (root / "srv/www/shop.test/wp-config.php").read_text()
    for line in ("<?php", "define('DB_HOST', 'db.test');", "define('AUTH_KEY', 'salt');", "$table_prefix = 'wp_';"):
        assert line in config.splitlines(), line
    assert "define('WP_HOME', 'https://' . ($_SERVER['HTTP_HOST'] ?? 'shop.test'));" in config
    preview = (root / "etc/nginx/sites/v2.shop.test.conf").read_text()
    assert 'auth_basic "preview"' in preview
    assert "@" not in preview
    assert (root / "etc/nginx/provision.htpasswd").read_text() == "admin:hashed\n"
    assert "www-data flock -n" in (root / "etc/cron.d/provision").read_text()
    assert " /usr/local/bin/wp cron" in (root / "etc/cron.d/provision").read_text(), "cron looks nowhere else"
    assert f"chown www-data {root}/etc/nginx/provision.htpasswd" in ran
    assert (root / "srv/www").stat().st_mode & 0o777 == 0o755
    assert ran.splitlines()[-2:] == ["systemctl start php-fpm nginx", "systemctl reload nginx"]
    assert (root / "srv/files/.cron").exists()


def test_a_dump_gets_its_name_when_it_is_complete_and_the_machine_ends_whatever_happens(tmp_path: Path) -> None:
    """The script with stand-ins for what the image has and this machine need not."""
    ran = tmp_path / "ran"
    programs = {
        "aws": 'case "$*" in *get-secret-value*) echo "{}" ;; *" cp "*) cat > "$0.part" ;; esac',
        "jq": "echo master-or-password",
        "mysqldump": "echo 'CREATE TABLE'; exit ${BROKEN:-0}",
        "shutdown": "",
    }
    made = script("us-east-1", Restored("db.test", "arn:secret", 20), Place("artifacts", "dumps/wp-1/2.sql.gz"))
    for broken in (0, 1):
        ran.write_text("")
        environment = stand_in(tmp_path, programs) | {"BROKEN": str(broken)}
        done = subprocess.run(["bash"], input=made, text=True, env=environment, capture_output=True, check=False)
        lines = ran.read_text().splitlines()
        assert (done.returncode, lines[-1]) == (broken, "shutdown -h now")
        moved = (
            "aws s3 mv s3://artifacts/dumps/wp-1/2.sql.gz.part s3://artifacts/dumps/wp-1/2.sql.gz --only-show-errors"
        )
        assert (moved in lines) == (not broken)
        assert "master-or-password" not in done.stdout + done.stderr + "".join(lines)
    assert gzip.decompress((tmp_path / "aws.part").read_bytes()) == b"CREATE TABLE\n"
