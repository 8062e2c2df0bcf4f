"""Servers of one file on this machine, and clients that fetch it. Knows processes and sockets; not what is compared."""

import re
import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from measure import Failed

NGINX = """
daemon off;
worker_processes 2;
error_log {place}/error.log;
pid {place}/pid;
events {{ worker_connections 256; }}
http {{
  access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; default_type application/octet-stream;
  client_body_temp_path {place}/body; proxy_temp_path {place}/proxy; fastcgi_temp_path {place}/fastcgi;
  uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;
  server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


class Server:
    """A process that serves `url`."""

    def __init__(self, name, argv, url, runner, cwd=None):
        self.name = name
        self.url = url
        self.process = subprocess.Popen(
            [str(word) for word in argv],
            cwd=cwd,
            env=runner.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def wait(self):
        """Until it takes connections."""
        address = urlsplit(self.url)
        for _ in range(200):
            if self.process.poll() is not None:
                raise Failed(f"{self.name} ended with {self.process.returncode}")
            try:
                socket.create_connection((address.hostname, address.port), 1).close()
                return self
            except OSError:
                time.sleep(0.05)
        raise Failed(f"{self.name} does not listen")

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()

    def peak(self):
        """The most memory it ever had, in bytes; of nginx that of its larger worker."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        found = [re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()) for pid in [self.process.pid, *children]]
        return max(int(one[1]) for one in found if one) * 1024


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def modelkeep(runner, program, workspace, path):
    server = Server("modelkeep", [program, "--workspace", workspace, "serve", "--listen", "127.0.0.1:0"], "", runner)
    first = server.process.stdout.readline()
    if not first.startswith("listening on "):
        raise Failed("modelkeep does not listen")
    server.url = first.split()[-1] + path
    return server


def nginx(runner, root, name, place):
    program = shutil.which("nginx", path=f"{runner.env['PATH']}:/usr/sbin")
    if program is None:
        return None
    place.mkdir()
    port = free_port()
    config = place / "nginx.conf"
    config.write_text(NGINX.format(place=place, port=port, root=root))
    argv = [program, "-c", config, "-p", place, "-e", place / "start.log"]
    return Server("nginx", argv, f"http://127.0.0.1:{port}/{name}", runner).wait()


def http_server(runner, root, name):
    port = free_port()
    argv = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    return Server("http.server", argv, f"http://127.0.0.1:{port}/{name}", runner, cwd=root).wait()


def first_byte(url):
    """Seconds from sending a request on an open connection to the first byte of the body."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request = f"GET {address.path} HTTP/1.1\r\nHost: {address.netloc}\r\nConnection: close\r\n\r\n".encode()
        begun = time.perf_counter()
        connection.sendall(request)
        answer = b""
        while b"\r\n\r\n" not in answer or answer.endswith(b"\r\n\r\n"):
            piece = connection.recv(4096)
            if not piece:
                raise Failed(f"{url}: no body")
            answer += piece
        return time.perf_counter() - begun


def drain(url):
    """Fetches all of it and forgets it; how many bytes came."""
    address = urlsplit(url)
    buffer, total = bytearray(1 << 20), 0
    with socket.create_connection((address.hostname, address.port)) as connection:
        request = f"GET {address.path} HTTP/1.1\r\nHost: {address.netloc}\r\nConnection: close\r\n\r\n"
        connection.sendall(request.encode())
        while came := connection.recv_into(buffer):
            total += came
    return total


def crowd(url, clients):
    """So many clients at once; the bytes that came to each."""
    with ThreadPoolExecutor(clients) as pool:
        return list(pool.map(drain, [url] * clients))
