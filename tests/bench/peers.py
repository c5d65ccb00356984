"""The relay and the mail servers it is compared with: each is set up for one load, started, and ended."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from common import HEALTH, POSTFIX, RELAY, ROOT, SINK, stop, wait_for_port
from machine import Group, Usage

RESOLVER = "127.53.0.1"
ROOM = ROOT / "tests/peers/room"
DOMAIN = "bench.example"


@dataclass(frozen=True)
class Plan:
    """What a load asks of a peer."""

    # False: everything goes to the sink at port SINK. True: by MX, looked up at RESOLVER.
    by_mx: bool = False
    # Of "rsa" and "ed25519".
    keys: tuple = ()


class Unable(Exception):
    """A peer cannot run a load; the text says why."""


class Failed(Exception):
    """A peer failed in a load; the text has the end of its log."""


@dataclass
class Peer:
    """One mail server. `keys` are files with private keys in PEM by their algorithm."""

    directory: Path
    keys: dict
    process: subprocess.Popen = None
    group: Group = None
    tree: Usage = None
    name = title = ""
    port = POSTFIX

    def start(self, plan):
        """Starts anew with an empty queue."""
        # Own users have to pass through.
        self.directory.mkdir(mode=0o755)
        self.group = Group(self.name)
        self.launch(plan)
        self.tree = Usage(self.process.pid, self.group)
        wait_for_port(self.port, self.process, self.failed)

    def failed(self, message):
        raise Failed(f"{self.title}: {message}\n{self.log()}")

    def launch(self, plan):
        raise NotImplementedError

    def spawn(self, command, **options):
        with open(self.directory / "said", "a") as said:
            self.process = subprocess.Popen(
                [str(part) for part in command], stdout=said, stderr=subprocess.STDOUT,
                preexec_fn=self.group.enter, **options)

    def log(self):
        """The last lines of what it said."""
        lines = []
        for path in [self.directory / "said", *sorted((self.directory / "log").glob("*"))]:
            if path.is_file():
                lines += path.read_text(errors="replace").splitlines()[-15:]
        return "\n".join(lines)

    def stop(self):
        if self.process:
            stop(self.process)
            self.process = None
        if self.group:
            self.group.remove()
        shutil.rmtree(self.directory, ignore_errors=True)


class Ours(Peer):
    name, title, port = "ours", "this relay", RELAY
    binary = None

    def launch(self, plan):
        algorithms = {"rsa": "RsaSha256", "ed25519": "Ed25519Sha256"}
        keys = [
            {"selector": key, "algorithm": algorithms[key], "privateKey": self.keys[key].read_text()}
            for key in plan.keys
        ]
        # Nothing is tried twice while it is measured.
        delivery = {"retry": {"initial": "30m", "maximum": "1h"}}
        if plan.by_mx:
            delivery["permittedNetworks"] = ["127.0.0.0/8"]
        else:
            delivery["smarthosts"] = [{"host": "127.0.0.1", "port": SINK, "tls": "None"}]
        configuration = {
            "version": 1,
            "relay": "bench",
            "hostname": f"relay.{DOMAIN}",
            "listeners": [{
                "name": "bench", "address": f"127.0.0.1:{self.port}", "tls": "None",
                "authentication": "None", "clients": ["127.0.0.0/8"],
            }],
            "limits": {"connections": 2000, "connectionsPerAddress": 2000,
                       "connectionsPerIdentity": 2000},
            "health": {"address": f"127.0.0.1:{HEALTH}"},
            "delivery": delivery,
            "domains": [{"name": DOMAIN, "senders": ["*"], "dkim": keys}],
        }
        if plan.by_mx:
            configuration["dns"] = {"servers": [f"{RESOLVER}:53"]}
        (self.directory / "relay.json").write_text(json.dumps(configuration))
        self.serve()

    def serve(self):
        self.spawn([self.binary, "serve", "--config", self.directory / "relay.json"])

    def restart(self):
        """With the queue that is there."""
        self.serve()
        self.tree = Usage(self.process.pid, self.group)


class Roomed(Peer):
    """A peer that runs as if it were installed; see tests/peers/README.md."""

    packages = ""

    def in_room(self, script):
        path = self.directory / "start"
        path.write_text(script)
        # As when the machine starts: what is installed for the user who measures is not in it.
        environment = os.environ | {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        self.spawn([ROOM, self.directory, self.packages, RESOLVER, path], stdin=subprocess.PIPE,
                   env=environment)

    def stop(self):
        if self.process:
            # The room, its processes and the directory go with it.
            self.process.stdin.close()
            try:
                self.process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                stop(self.process)
            self.process = None
        super().stop()


# Tuned as in the figures that the relay is held against: no process or concurrency limit below what the
# sessions ask for, no pause on input.
MAIN_CF = """\
compatibility_level = 3.6
config_directory = {directory}/etc
queue_directory = {directory}/spool
data_directory = {directory}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = {directory}/log/mail.log
maillog_file_prefixes = {directory}
myhostname = postfix.bench.example
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
mynetworks = 127.0.0.0/8
relayhost = {relayhost}
smtp_tls_security_level = none
default_process_limit = 200
default_destination_concurrency_limit = 100
initial_destination_concurrency = 20
in_flow_delay = 0
"""

OPENDKIM = """\
Socket local:{directory}/opendkim.sock
UMask 000
Mode s
Domain {domain}
Selector rsa
KeyFile {key}
Canonicalization relaxed/relaxed
InternalHosts 127.0.0.0/8
RequireSafeKeys no
"""


class Postfix(Roomed):
    name, title = "postfix", "Postfix, tuned"

    def launch(self, plan):
        if "ed25519" in plan.keys:
            raise Unable("OpenDKIM signs with RSA only")
        for name in ("etc", "spool", "data", "log"):
            (self.directory / name).mkdir()
        shutil.chown(self.directory / "data", "postfix")
        services = (ROOT / "tests/src/receiver/master.cf").read_text()
        (self.directory / "etc/master.cf").write_text(
            f"127.0.0.1:{self.port} inet n - n - - smtpd\n{services}")
        relayhost = "" if plan.by_mx else f"[127.0.0.1]:{SINK}"
        settings = MAIN_CF.format(directory=self.directory, relayhost=relayhost)
        signer = ""
        if plan.keys:
            (self.directory / "opendkim.conf").write_text(OPENDKIM.format(
                directory=self.directory, domain=DOMAIN, key=self.keys["rsa"]))
            settings += (f"smtpd_milters = unix:{self.directory}/opendkim.sock\n"
                         "milter_default_action = tempfail\n")
            signer = ('opendkim -f -x "$1/opendkim.conf" &\n'
                      'while [ ! -S "$1/opendkim.sock" ]; do sleep 0.05; done\n')
        (self.directory / "etc/main.cf").write_text(settings)
        self.in_room(f'{signer}exec postfix -c "$1/etc" start-fg\n')


EXIM = """\
primary_hostname = exim.bench.example
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
spool_directory = {directory}/spool
log_file_path = {directory}/log/%slog
pid_file_path = {directory}/spool/exim.pid
keep_environment =
host_lookup =
rfc1413_hosts =
tls_advertise_hosts =
smtp_accept_max = 0
smtp_accept_queue_per_connection = 0
smtp_connect_backlog = 1024
acl_smtp_rcpt = everyone

begin acl

everyone:
  accept

begin routers

out:
{router}
  self = send
  transport = out

begin transports

out:
  driver = smtp
  port = {destination}
  allow_localhost
  hosts_avoid_tls = *
{signing}
begin retry

* * F,2h,30m
"""


class Exim(Roomed):
    name, title = "exim", "Exim"

    def launch(self, plan):
        for name in ("spool", "log", "keys"):
            (self.directory / name).mkdir()
        signing = ""
        if plan.keys:
            for key in plan.keys:
                shutil.copy(self.keys[key], self.directory / "keys" / key)
            signing = (f"  dkim_domain = {DOMAIN}\n  dkim_selector = {' : '.join(plan.keys)}\n"
                       f"  dkim_private_key = {self.directory}/keys/$dkim_selector\n"
                       "  dkim_canon = relaxed\n  dkim_strict = true\n")
        router = ("  driver = dnslookup" if plan.by_mx else
                  "  driver = manualroute\n  route_list = * 127.0.0.1 byname")
        (self.directory / "exim.conf").write_text(EXIM.format(
            directory=self.directory, port=self.port, router=router, signing=signing,
            destination=25 if plan.by_mx else SINK))
        self.in_room("""\
echo "$1/exim.conf" >/etc/exim4/trusted_configs
useradd --system Debian-exim
cd "$1"
chown -R Debian-exim: log spool keys
exec exim4 -bdf -q10m -C "$1/exim.conf"
""")


class OpenSmtpd(Roomed):
    name, title = "opensmtpd", "OpenSMTPD"

    def launch(self, plan):
        if plan.keys:
            raise Unable("signs with a filter that Debian does not have")
        for name in ("spool", "log"):
            (self.directory / name).mkdir()
        (self.directory / "spool").chmod(0o711)
        host = "" if plan.by_mx else f" host smtp://127.0.0.1:{SINK}"
        (self.directory / "smtpd.conf").write_text(f"""\
smtp limit max-mails 1000000
listen on 127.0.0.1 port {self.port} hostname opensmtpd.bench.example
action out relay{host}
match from any for any action out
""")
        # Its queue has a fixed path, which would be in memory.
        self.in_room("""\
useradd --system --home-dir /var/lib/opensmtpd/empty opensmtpd
useradd --system opensmtpq
mkdir -p /var/lib/opensmtpd/empty /var/spool/smtpd
mount --bind "$1/spool" /var/spool/smtpd
exec smtpd -d -f "$1/smtpd.conf"
""")


class Haraka(Roomed):
    name, title = "haraka", "Haraka"
    program = ""

    def launch(self, plan):
        if plan.keys:
            raise Unable("signs with a plugin that is not part of it")
        for name in ("config", "plugins", "log"):
            (self.directory / name).mkdir()
        for name, text in {
            "smtp.ini": f"listen=127.0.0.1:{self.port}\nnodes=0\ndaemonize=false\n",
            "plugins": "bench\n",
            "log.ini": "level=warn\n",
            "me": "haraka.bench.example\n",
            "outbound.ini": "enable_tls=false\nlocal_mx_ok=true\ntemp_fail_intervals=1h\n",
            "bench.json": json.dumps(
                {} if plan.by_mx else {"exchange": "127.0.0.1", "port": SINK}),
        }.items():
            (self.directory / "config" / name).write_text(text)
        shutil.copy(ROOT / "tests/peers/haraka/bench.js", self.directory / "plugins")
        self.in_room(f'exec node {self.program} -c "$1"\n')


class Given(Peer):
    """A program that the user names: called with a directory, a port to listen at and the sink's port."""

    program = ""

    def launch(self, plan):
        if plan.keys or plan.by_mx:
            raise Unable("the given program is told of one destination only")
        self.spawn([self.program, self.directory, self.port, SINK])
