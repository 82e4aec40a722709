//! A member that restarts after it was told to let partitions go, and before it joined once more.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::five_workflows;
use super::world::World;
use crate::support::broker::TestBroker;
use crate::support::wait;

const POLL: Duration = Duration::from_millis(50);
const CALL: Duration = Duration::from_secs(10);

/// A static member of the instances' group that is no instance.
fn member(world: &World<'_>, name: &str) -> BaseConsumer {
    let settings = [("group.instance.id", name), ("partition.assignment.strategy", "cooperative-sticky")];
    let member = world.broker.consumer(&world.group, &settings);
    member.subscribe(&[&world.source, &world.topic("journal")]).unwrap();
    member
}

fn held(member: &BaseConsumer) -> usize {
    drop(member.poll(POLL));
    member.assignment().unwrap().count()
}

#[test]
fn partitions_that_a_restart_left_with_nobody_come_to_a_member() {
    let Some(broker) = TestBroker::shared() else { return };
    let out = broker.topic("out", 1);
    let world = World::new(broker, &five_workflows(&out));
    let all = broker.partitions(&world.source) + broker.partitions(&world.topic("journal"));
    let first = member(&world, "one-0");
    wait::until("the first holds all", || (held(&first) == all).then_some(()));
    // The first is told to let half of them go. It is not polled any more: it does not, nor joins again so that the second gets them.
    let second = member(&world, "two-0");
    wait::until("both are members", || {
        assert_eq!(held(&second), 0);
        let groups = second.client().fetch_group_list(Some(&world.group), CALL).ok()?;
        let group = groups.groups().first()?;
        (group.state() == "Stable" && group.members().len() == 2).then_some(())
    });
    // An instance takes the place of the first, with what was left to it, as one does that is killed and starts again.
    let mut instance = world.instance("one");
    let got = wait::until("the second gets the others", || Some(held(&second)).filter(|held| *held > 0));
    assert_eq!(got, all / 2);
    assert!(instance.is_alive());
    let log = world.log("one");
    assert!(log.contains("no member holds these partitions") && !log.contains("starts again"), "{log}");
}
