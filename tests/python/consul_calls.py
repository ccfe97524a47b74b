"""py-consul's discovery calls: `consul_calls.py PORT TOPIC`.

Each function is one topic; it fails by an assertion and prints `ok` otherwise.
"""

import sys
import threading
import time

import consul


def ids(entries):
    return sorted(entry["Service"]["ID"] for entry in entries)


def until(look, what):
    end = time.monotonic() + 20
    while not look():
        assert time.monotonic() < end, f"waited for {what}"
        time.sleep(0.05)


def agent(c):
    about = c.agent.self()
    assert about["Config"]["Datacenter"] == c.catalog.datacenters()[0]
    assert about["Config"]["Version"]
    node = about["Config"]["NodeName"]

    assert c.agent.service.register(
        "web",
        service_id="web-1",
        address="127.0.0.1",
        port=8001,
        tags=["blue", "v1"],
        meta={"zone": "a"},
        weights={"Passing": 3, "Warning": 1},
    )
    found = c.agent.services()["web-1"]
    assert found["Service"] == "web" and found["ID"] == "web-1"
    assert found["Port"] == 8001 and found["Address"] == "127.0.0.1"
    assert found["Tags"] == ["blue", "v1"] and found["Meta"] == {"zone": "a"}
    assert found["Weights"] == {"Passing": 3, "Warning": 1}
    assert c.agent.service_definition("web-1")["Port"] == 8001
    assert [member["Name"] for member in c.agent.members()] == [node]
    assert list(c.agent.services(filter_expr='Service == "other"')) == []

    # The id is the name unless one is given.
    assert c.agent.service.register("plain", port=8002)
    assert c.agent.services()["plain"]["Port"] == 8002

    assert c.agent.service.deregister("web-1")
    assert "web-1" not in c.agent.services()
    assert c.agent.service_definition("web-1") is None
    # An unknown one is answered with 404, which py-consul reads as False.
    assert c.agent.service.deregister("web-1") is False


def checks(c):
    assert c.agent.service.register(
        "job", service_id="job-1", port=9001, check=consul.Check.ttl("30s")
    )
    check = c.agent.checks()["service:job-1"]
    assert check["Status"] == "critical" and check["ServiceID"] == "job-1"
    assert check["ServiceName"] == "job" and check["Type"] == "ttl"
    assert ids(c.health.service("job", passing=True)[1]) == []

    assert c.agent.check.ttl_pass("service:job-1", notes="all is well")
    assert c.agent.checks()["service:job-1"]["Output"] == "all is well"
    assert ids(c.health.service("job", passing=True)[1]) == ["job-1"]
    assert c.agent.check.ttl_warn("service:job-1")
    assert [check["CheckID"] for check in c.health.state("warning")[1]] == ["service:job-1"]
    assert c.agent.check.ttl_fail("service:job-1", notes="out of paper")
    critical = [check for check in c.health.state("critical")[1]]
    assert [(check["CheckID"], check["Output"]) for check in critical] == [
        ("service:job-1", "out of paper")
    ]

    # A check of its own, on an existing service; and one of the node.
    assert c.agent.check.register(
        "disk", check=consul.Check.ttl("30s"), check_id="job-disk", service_id="job-1"
    )
    assert c.agent.check.register("load", check=consul.Check.ttl("30s"), notes="of the node")
    assert {check["CheckID"] for check in c.health.checks("job")[1]} == {"service:job-1", "job-disk"}
    node = c.agent.self()["Config"]["NodeName"]
    on_node = {check["CheckID"]: check for check in c.health.node(node)[1]}
    assert on_node["load"]["Notes"] == "of the node" and on_node["load"]["ServiceID"] == ""
    # A critical node check takes every service of the node out.
    assert c.agent.check.ttl_pass("service:job-1") and c.agent.check.ttl_pass("job-disk")
    assert ids(c.health.service("job", passing=True)[1]) == []
    assert c.agent.check.deregister("load")
    assert ids(c.health.service("job", passing=True)[1]) == ["job-1"]

    # A program is never run on a caller's word.
    try:
        done = c.agent.check.register("evil", check=consul.Check.script(["true"], "1s"))
        assert not done
    except consul.ConsulException:
        pass
    assert "evil" not in c.agent.checks()


def ttl(c):
    assert c.agent.service.register(
        "beat", service_id="beat-1", port=9002, check=consul.Check.ttl("1s")
    )
    assert c.agent.check.ttl_pass("service:beat-1")
    assert ids(c.health.service("beat", passing=True)[1]) == ["beat-1"]
    until(lambda: ids(c.health.service("beat", passing=True)[1]) == [], "the TTL to run out")
    assert c.agent.checks()["service:beat-1"]["Status"] == "critical"


def maintenance(c):
    assert c.agent.service.register("shop", service_id="shop-1", port=9003)
    assert ids(c.health.service("shop", passing=True)[1]) == ["shop-1"]
    assert c.agent.service.maintenance("shop-1", True, reason="repairs")
    found = [check for check in c.health.checks("shop")[1]]
    assert [(check["CheckID"], check["Status"], check["Notes"]) for check in found] == [
        ("_service_maintenance:shop-1", "critical", "repairs")
    ]
    assert ids(c.health.service("shop", passing=True)[1]) == []
    assert c.agent.service.maintenance("shop-1", False)
    assert ids(c.health.service("shop", passing=True)[1]) == ["shop-1"]

    assert c.agent.maintenance(True, reason="moving")
    assert c.agent.checks()["_node_maintenance"]["Notes"] == "moving"
    assert ids(c.health.service("shop", passing=True)[1]) == []
    assert c.agent.maintenance(False)
    assert "_node_maintenance" not in c.agent.checks()
    assert ids(c.health.service("shop", passing=True)[1]) == ["shop-1"]


def catalog(c):
    own = c.agent.self()["Config"]["NodeName"]
    assert c.catalog.register(
        "outside",
        "10.9.8.7",
        service={"Service": "mail", "ID": "mail-1", "Port": 25, "Tags": ["smtp"]},
        check={"CheckID": "service:mail-1", "Name": "mail", "Status": "passing", "ServiceID": "mail-1"},
    )
    assert {node["Node"] for node in c.catalog.nodes()[1]} == {own, "outside"}
    assert c.catalog.services()[1]["mail"] == ["smtp"]
    [entry] = c.catalog.service("mail")[1]
    assert entry["Node"] == "outside" and entry["Address"] == "10.9.8.7"
    assert entry["ServiceID"] == "mail-1" and entry["ServicePort"] == 25
    assert c.catalog.service("mail", tag="imap")[1] == []
    node = c.catalog.node("outside")[1]
    assert node["Node"]["Address"] == "10.9.8.7" and list(node["Services"]) == ["mail-1"]
    [healthy] = c.health.service("mail", passing=True)[1]
    assert healthy["Node"]["Node"] == "outside"

    assert c.catalog.deregister("outside", service_id="mail-1")
    assert "mail" not in c.catalog.services()[1]
    assert c.catalog.deregister("outside")
    assert {node["Node"] for node in c.catalog.nodes()[1]} == {own}
    assert c.status.leader() and c.status.peers()


def filters(c):
    for number, (zone, tags) in enumerate([("a", ["red"]), ("b", ["red", "blue"]), ("b", [])], 1):
        assert c.agent.service.register(
            "api", service_id=f"api-{number}", port=9100 + number, tags=tags, meta={"zone": zone}
        )

    def find(**query):
        return ids(c.health.service("api", **query)[1])

    assert find() == ["api-1", "api-2", "api-3"]
    assert find(tag="red") == ["api-1", "api-2"]
    assert find(tag=["red", "blue"]) == ["api-2"]
    assert find(filter_expr='Service.Meta.zone == "b"') == ["api-2", "api-3"]
    assert find(filter_expr='Service.ID != "api-1" and "blue" in Service.Tags') == ["api-2"]
    assert find(filter_expr="Service.Tags is empty") == ["api-3"]
    try:
        find(filter_expr="Service.Meta.zone =")
        raise AssertionError("a broken filter was taken")
    except consul.ConsulException:
        pass


def blocking(c):
    c.agent.service.register("push", service_id="push-1", port=9201)
    index, found = c.health.service("push")
    assert ids(found) == ["push-1"] and int(index) > 0

    # Nothing changes: the answer comes after the wait, with the same index.
    began = time.monotonic()
    same, _ = c.health.service("push", index=index, wait="1s")
    assert same == index and time.monotonic() - began >= 0.9

    # Another service changes: this watcher sleeps on.
    c.agent.service.register("other", port=9202)
    same, _ = c.health.service("push", index=index, wait="1s")
    assert same == index, (same, index)

    # This one changes: the answer comes at once, with a higher index.
    answers = []
    other = consul.Consul(host=c.http.host, port=c.http.port)
    watcher = threading.Thread(
        target=lambda: answers.append(other.health.service("push", index=index, wait="60s"))
    )
    watcher.start()
    c.agent.service.register("push", service_id="push-2", port=9203)
    watcher.join(20)
    assert not watcher.is_alive(), "the watcher was not woken"
    [(higher, found)] = answers
    assert int(higher) > int(index) and ids(found) == ["push-1", "push-2"]

    # Gone is a change too, and the index goes on.
    c.agent.service.deregister("push-1")
    c.agent.service.deregister("push-2")
    last, found = c.health.service("push", index=higher, wait="20s")
    assert int(last) > int(higher)
    until(lambda: c.health.service("push")[1] == [], "both to be gone")


if __name__ == "__main__":
    port, topic = sys.argv[1:]
    globals()[topic](consul.Consul(host="127.0.0.1", port=int(port)))
    print("ok")
