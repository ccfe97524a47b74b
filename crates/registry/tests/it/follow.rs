//! Following services from within the process.

use posthouse_registry::{Change, Endpoint, Follower, Status};

use crate::client::{DEADLINE, House};

async fn next(follower: &mut Follower) -> Change {
    tokio::time::timeout(DEADLINE, follower.next()).await.expect("a change")
}

#[tokio::test]
async fn a_follower_sees_what_is_there_and_then_each_change() {
    let house = House::new().await;
    house.register(r#"{"Name": "db", "Port": 1}"#).await;
    house
        .register(
            r#"{"Name": "web", "Address": "10.0.0.1", "Port": 80, "Tags": ["v1"],
                "Meta": {"protocol": "grpc"}, "Weights": {"Passing": 3, "Warning": 1},
                "Check": {"TTL": "1h"}}"#,
        )
        .await;
    let mut follower = house.registry.handle().follow();
    let first = next(&mut follower).await;
    assert_eq!((first.service.as_ref(), first.instances[0].address.as_str()), ("db", "127.0.0.1"));
    let web = next(&mut follower).await;
    let instance = &web.instances[0];
    assert_eq!((instance.address.as_str(), instance.port), ("10.0.0.1", 80));
    assert_eq!((instance.weight_passing, instance.weight_warning), (3, 1));
    assert_eq!((instance.tags.as_slice(), instance.status), (&["v1".into()][..], Status::Critical));
    assert_eq!(instance.meta["protocol"], "grpc");
    assert_eq!(follower.try_next(), None);

    house.put("/v1/agent/check/pass/service:web", "").await;
    assert_eq!(next(&mut follower).await.instances[0].status, Status::Passing);
    for enabled in [true, false] {
        house.put(&format!("/v1/agent/maintenance?enable={enabled}"), "").await;
        let status = if enabled { Status::Critical } else { Status::Passing };
        for _ in 0..2 {
            let change = next(&mut follower).await;
            let Endpoint { status: is, maintenance, .. } = &change.instances[0];
            assert_eq!((*is, *maintenance), (status, enabled), "{}", change.service);
        }
    }
    house.put("/v1/agent/service/maintenance/web?enable=true", "").await;
    assert!(next(&mut follower).await.instances[0].maintenance);
    house.put("/v1/agent/service/deregister/web", "").await;
    let gone = next(&mut follower).await;
    assert_eq!((gone.service.as_ref(), gone.instances.len()), ("web", 0));
}

#[tokio::test]
async fn a_slow_follower_gets_the_latest_state_once() {
    let house = House::new().await;
    let mut follower = house.registry.handle().follow();
    for port in 1..50 {
        house.register(&format!(r#"{{"Name": "web", "Port": {port}}}"#)).await;
    }
    assert_eq!(next(&mut follower).await.instances[0].port, 49);
    assert_eq!(follower.try_next(), None);
    let handle = house.registry.handle();
    assert_eq!(handle.services().await.expect("names").len(), 1);
    assert_eq!(handle.instances("web").await.expect("instances")[0].port, 49);
    assert_eq!(handle.nodes().await.expect("nodes").len(), 1);
}
