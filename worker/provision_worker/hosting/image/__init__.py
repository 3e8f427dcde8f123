"""The image that nodes start from: `python -m provision_worker.hosting.image` prints the script that makes it.

The script is for Ubuntu 24.04 (arm64), run as root by whatever builds images: EC2 Image Builder, Packer, or by hand.
It installs what `node.sh` needs, and writes the files that lie beside this one to where `node.sh` looks for them.
Nothing in the image is of one site, and nothing in it is secret.
"""

from importlib.resources import files

PLACES = {
    "login.php": "/opt/provision/login.php",
    "nginx.conf": "/opt/provision/nginx.conf",
    "guard.service": "/etc/systemd/system/provision-guard.service",
    "agent.json": "/opt/aws/amazon-cloudwatch-agent/etc/amazon-cloudwatch-agent.json",
}


def text_of(name: str) -> str:
    """One of the files."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def build_script() -> str:
    """The script that makes an image."""
    parts = [f"cat > {place} <<'END_OF_FILE'\n{text_of(name)}END_OF_FILE" for name, place in PLACES.items()]
    return text_of("build.sh").replace("@FILES@", "\n".join(parts))
