"""The registry as dnspython, a DNS library that nobody here wrote, sees it.

Usage: dns_calls.py CONSUL_PORT DNS_PORT TOPIC
"""

import sys

import dns.exception
import dns.flags
import dns.inet
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.resolver
import requests

CONSUL, DNS, TOPIC = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
HOST = "127.0.0.1"
PATIENCE = 10


def put(path, body=None):
    answer = requests.put(f"http://{HOST}:{CONSUL}/v1/{path}", json=body, timeout=PATIENCE)
    answer.raise_for_status()


def register(name, number, **more):
    put("agent/service/register", {"ID": f"{name}-{number}", "Name": name, "Port": 8000 + number,
                                   "Address": f"10.0.{number // 250}.{number % 250 + 1}", **more})


def resolver():
    """A stub resolver as programs have one: it asks over TCP what was truncated."""
    stub = dns.resolver.Resolver(configure=False)
    stub.nameservers, stub.port, stub.lifetime = [HOST], DNS, PATIENCE
    return stub


def udp(name, kind, **options):
    query = dns.message.make_query(name, kind, **options)
    return dns.query.udp(query, HOST, port=DNS, timeout=PATIENCE)


def records():
    register("web", 1, Tags=["blue"], Weights={"Passing": 7, "Warning": 1})
    register("web", 2, Check={"TTL": "1h", "Status": "critical"})
    stub = resolver()
    assert [record.address for record in stub.resolve("web.service.consul", "A")] == ["10.0.0.2"]
    [target] = stub.resolve("_web._tcp.service.consul", "SRV")
    assert (target.priority, target.weight, target.port) == (1, 7, 8001), target
    [at] = stub.resolve(target.target, "A")
    assert at.address == "10.0.0.2"
    assert len(stub.resolve("blue.web.service.dc1.consul", "SRV")) == 1
    put("agent/check/pass/service:web-2")
    assert len(stub.resolve("web.service.consul", "A")) == 2
    put("catalog/register", {"Node": "box", "Address": "fd00::1", "NodeMeta": {"rack": "7"}})
    [at] = stub.resolve("box.node.consul", "AAAA")
    assert at.address == "fd00::1"
    [text] = stub.resolve("box.node.consul", "TXT")
    assert text.strings == (b"rack=7",), text
    [server] = stub.resolve("consul", "NS")
    assert stub.resolve(server.target, "A")[0].address == "127.0.0.1"
    assert stub.resolve("consul", "SOA")[0].minimum == 0
    assert dns.resolver.zone_for_name("web.service.consul", resolver=stub) == \
        dns.name.from_text("consul")


def hosts():
    register("db", 1, Address="db.example.com")
    answer = udp("db.service.consul", "A")
    [rrset] = answer.answer
    assert rrset.rdtype == dns.rdatatype.CNAME and str(rrset[0].target) == "db.example.com."
    [target] = resolver().resolve("db.service.consul", "SRV")
    assert str(target.target) == "db.example.com."


def denials():
    stub = resolver()
    for name, raised in [("gone.service.consul", dns.resolver.NXDOMAIN),
                         ("service.consul", dns.resolver.NoAnswer),
                         ("web.service.dc2.consul", dns.resolver.NoNameservers),
                         ("example.com", dns.resolver.NoNameservers)]:
        try:
            stub.resolve(name, "A")
        except raised:
            continue
        raise AssertionError(f"{name} did not end in {raised}")
    denied = udp("gone.service.consul", "A")
    assert denied.rcode() == dns.rcode.NXDOMAIN and denied.flags & dns.flags.AA
    assert denied.authority[0].rdtype == dns.rdatatype.SOA and denied.authority[0].ttl == 0
    assert udp("example.com", "A").rcode() == dns.rcode.REFUSED
    assert udp("consul", "A", rdclass=dns.rdataclass.CH).rcode() == dns.rcode.REFUSED
    answer = udp("consul", "SOA", use_edns=1)
    assert answer.rcode() == dns.rcode.BADVERS, answer


def sizes():
    for number in range(200):
        register("many", number)
    for options in [{}, {"use_edns": 0, "payload": 4096}, {"use_edns": 0, "payload": 600}]:
        answer = udp("many.service.consul", "SRV", **options)
        room = min(options.get("payload", 512), 1232)
        assert answer.flags & dns.flags.TC and len(answer.to_wire()) <= room, answer
        assert answer.edns == options.get("use_edns", -1), answer
    query = dns.message.make_query("many.service.consul", "SRV")
    whole, over_tcp = dns.query.udp_with_fallback(query, HOST, port=DNS, timeout=PATIENCE)
    assert over_tcp and len(whole.answer[0]) == 200 and not whole.flags & dns.flags.TC
    assert len(resolver().resolve("many.service.consul", "A")) == 200


def case():
    register("WebShop", 1)
    query = dns.message.make_query("wEbShOp.SeRvIcE.cOnSuL", "A")
    answer = dns.query.udp(query, HOST, port=DNS, timeout=PATIENCE)
    assert len(answer.answer[0]) == 1
    # Askers that guess cases against forgers want them back as they wrote them.
    assert answer.question[0].name.to_text() == "wEbShOp.SeRvIcE.cOnSuL."


def nonsense():
    for wire in [bytes(12), b"\x12\x34\x01\x00\xff\xff" + bytes(6), b"\x12\x34\x01\x00\x00\x01" +
                 bytes(6) + b"\xc0\x0c\x00\x01\x00\x01"]:
        connection = dns.query.make_socket(dns.inet.AF_INET, dns.query.socket.SOCK_DGRAM)
        connection.settimeout(PATIENCE)
        connection.sendto(wire, (HOST, DNS))
        answer = dns.message.from_wire(connection.recv(4096), ignore_trailing=True)
        connection.close()
        assert answer.rcode() == dns.rcode.FORMERR, answer
    assert udp("consul", "SOA").rcode() == dns.rcode.NOERROR


globals()[TOPIC]()
print("ok")
