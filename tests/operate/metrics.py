#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Counters over HTTP, read by Prometheus' own parser: metrics.py BACKEND LOAD VHXCTL."""
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile

SYSTEM_PYTHON = '/usr/bin/python3'
CLIENTS_MAX = 8

try:
    from prometheus_client.parser import text_string_to_metric_families
except ImportError:
    # Debian's packages are seen by Debian's python only.
    if os.path.exists(SYSTEM_PYTHON) and not sys.flags.isolated:
        os.execv(SYSTEM_PYTHON, [SYSTEM_PYTHON, '-I'] + sys.argv)
    print('SKIP: package python3-prometheus-client is missing')
    sys.exit(77)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__('localhost', timeout=20)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def ask(conn, method, url):
    conn.request(method, url)
    response = conn.getresponse()
    body = response.read().decode()
    conn.close()
    return response.status, response.getheader('Content-Type'), body


def samples(text):
    """{name: [(labels, value)]}; the parser is strict about form, the assertions about families."""
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation, family.name
        assert family.type in ('counter', 'gauge', 'histogram'), family.name
        for s in family.samples:
            found.setdefault(s.name, []).append((s.labels, s.value))
    return found


def histogram_check(found):
    count = found['vhx_device_latency_seconds_count'][0][1]
    buckets = [(float(labels['le']), value)
               for labels, value in found['vhx_device_latency_seconds_bucket']]
    assert buckets == sorted(buckets) and [v for _, v in buckets] == sorted(v for _, v in buckets)
    assert buckets[-1] == (float('inf'), count), buckets[-1]
    assert count == found['vhx_device_completed_total'][0][1] > 0
    assert found['vhx_device_latency_seconds_sum'][0][1] > 0
    assert {labels['device'] for labels, _ in found['vhx_device_latency_seconds_bucket']} == {'d'}


def equal_check(found, stats):
    device = stats['devices'][0]
    for key in ('requests', 'completed', 'errors', 'replays', 'bytes_copied'):
        name = 'vhx_device_%s_total' % (key if key != 'bytes_copied' else 'copied_bytes')
        assert found[name][0][1] == device[key], key
    assert found['vhx_build_info'][0][0] == {'program': 'vhx-backend', 'version': stats['version']}
    assert found['vhx_device_state'][0][0]['state'] == device['state']


def listening(line):
    return line.endswith('ready\n')


def serve(backend, folder, address):
    command = [backend, '--listen', 'unix:%s/s' % folder, '--control', folder + '/c', '--metrics',
               address, '--device', 'blk,id=d,file=%s/img' % folder]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if listening(line):
            return process
    sys.exit('the backend ended: %d' % process.wait())


def end(process):
    process.terminate()
    process.stderr.read()
    assert process.wait(20) == 0


def over_unix(backend, load, vhxctl, folder):
    path = folder + '/m'
    process = serve(backend, folder, 'unix:' + path)
    subprocess.run([load, '--target', 'unix:%s/s' % folder, '--run-ms', '50', '--warmup-ms', '0'],
                   check=True, capture_output=True)
    stats = json.loads(subprocess.run([vhxctl, 'stats', folder + '/c', '--json'], check=True,
                                      capture_output=True).stdout)
    status, kind, body = ask(UnixConnection(path), 'GET', '/metrics')
    assert (status, kind.split(';')[0]) == (200, 'text/plain'), (status, kind)
    histogram_check(samples(body))
    equal_check(samples(body), stats)
    assert ask(UnixConnection(path), 'GET', '/')[0] == 404
    assert ask(UnixConnection(path), 'POST', '/metrics')[0] == 405
    assert ask(UnixConnection(path), 'HEAD', '/metrics')[2] == ''
    # Clients that say nothing have all the places; whoever comes next is served when one leaves.
    idle = [UnixConnection(path) for _ in range(CLIENTS_MAX)]
    for conn in idle:
        conn.connect()
    waiting = UnixConnection(path)
    waiting.connect()
    idle[0].close()
    assert ask(waiting, 'GET', '/metrics')[0] == 200
    end(process)
    assert not os.path.exists(path)


def over_tcp(backend, folder):
    for family, text in ((socket.AF_INET, '127.0.0.1'), (socket.AF_INET6, '::1')):
        probe = socket.socket(family)
        try:
            probe.bind((text, 0))
        except OSError:
            continue
        port = probe.getsockname()[1]
        probe.close()
        process = serve(backend, folder,
                        'tcp:%s:%d' % ('[%s]' % text if ':' in text else text, port))
        status, _, body = ask(http.client.HTTPConnection(text, port, timeout=20), 'GET', '/metrics')
        assert status == 200 and samples(body)['vhx_memory_bytes'][0][1] > 0
        end(process)


def mode_is_the_owners(backend, folder):
    path = folder + '/m'
    for keys, mode in ('', 0o600), (',mode=0640', 0o640):
        process = serve(backend, folder, 'unix:' + path + keys)
        assert os.stat(path).st_mode & 0o777 == mode, oct(os.stat(path).st_mode)
        end(process)


def refused(backend, folder):
    for address in ('tcp:localhost:80', 'tcp:127.0.0.1', 'tcp:127.0.0.1:0', 'tcp:[::1:80', 'unix:',
                    'http:x', 'tcp:127.0.0.1:65536',
                    'unix:%s/m,allow-uid=0' % folder, 'unix:%s/m,mode=888' % folder):
        done = subprocess.run([backend, '--listen', 'unix:%s/s' % folder, '--metrics', address,
                               '--device', 'blk,file=%s/img' % folder], capture_output=True,
                              text=True, timeout=20, check=False)
        assert done.returncode == 1, (address, done)


def main(backend, load, vhxctl):
    with tempfile.TemporaryDirectory() as folder:
        with open(folder + '/img', 'wb') as image:
            image.truncate(1 << 20)
        over_unix(backend, load, vhxctl, folder)
        over_tcp(backend, folder)
        mode_is_the_owners(backend, folder)
        refused(backend, folder)
    print('parsed')


main(*sys.argv[1:])
