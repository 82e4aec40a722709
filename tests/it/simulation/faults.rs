//! The instances of the simulated cluster, and what befalls them.

use std::rc::Rc;

use tidegate::bench::workload::Random;

use super::broken::Broken;
use super::cluster::Shared;
use super::gates::Instance;
use super::lane::Lane;

/// The lanes of a cluster: each is an instance of its own as a rule, and of three two share one now and then.
pub fn lanes(shared: &Shared, random: &mut Random, broken: Broken) -> Vec<Lane> {
    let lanes = 1 + random.below(3);
    let instances = if lanes == 3 && random.below(2) == 0 { 2 } else { lanes };
    let new = |number| Rc::new(Instance::new(number, &shared.target.policies, broken));
    let all: Vec<Rc<Instance>> = (0..instances).map(new).collect();
    let of = |lane: usize| match broken {
        Broken::GatesOfEachLane => new(lane % instances),
        _ => all[lane % instances].clone(),
    };
    (0..lanes).map(|lane| Lane::new(lane as u32, of(lane), broken)).collect()
}

/// Something happens to a lane, or to the whole instance that it is a part of.
pub fn strike(lanes: &mut [Lane], at: usize, shared: &Shared, random: &mut Random, now_ms: i64) {
    let number = lanes[at].instance.number;
    match random.below(10) {
        0..3 => kill(lanes, number, shared, random, now_ms),
        3 | 4 => lanes[at].cut_until_ms = now_ms + random.below(400) as i64,
        5 | 6 => stop(lanes, number, now_ms + random.below(400) as i64),
        // Long enough that somebody else takes over and calls.
        _ => stop(lanes, number, now_ms + random.below(1_500) as i64),
    }
}

/// The instance of a lane is stopped in the midst of something, where chance alone seldom stops one; long enough that somebody else takes over
/// and calls.
pub fn stall(lanes: &mut [Lane], at: usize, random: &mut Random, now_ms: i64) {
    stop(lanes, lanes[at].instance.number, now_ms + 400 + random.below(1_000) as i64);
}

fn stop(lanes: &mut [Lane], number: usize, until_ms: i64) {
    lanes.iter_mut().filter(|it| it.instance.number == number).for_each(|it| it.stopped_until_ms = until_ms);
}

fn kill(lanes: &mut [Lane], number: usize, shared: &Shared, random: &mut Random, now_ms: i64) {
    let remembers = random.below(2) == 0;
    for lane in lanes.iter_mut().filter(|it| it.instance.number == number) {
        lane.kill(now_ms, random);
        lane.instance.start_again(remembers, now_ms);
    }
    shared.target.starts_again(number, remembers, now_ms);
    shared.purge.iter().for_each(|purge| purge.killed(number));
    shared.control.iter().for_each(|control| control.killed(number));
}

/// What is left of calls where nothing is to be called any more.
pub fn leaks(
    lanes: &mut [Lane],
    shared: &Shared,
    log: &super::log::FakeLog,
    random: &mut Random,
    now_ms: i64,
) -> Vec<String> {
    // A lane notices only when it looks that there is nothing to ask for any more.
    lanes.iter_mut().for_each(|lane| lane.settle(shared, log, random, now_ms));
    // Each is asked once: for a second question at the same moment a rate may leave no room.
    let mut instances: Vec<&Instance> = Vec::new();
    for instance in lanes.iter().map(|lane| &*lane.instance) {
        if !instances.iter().any(|known| std::ptr::eq(*known, instance)) {
            instances.push(instance);
        }
    }
    instances.into_iter().flat_map(|instance| instance.leaks(now_ms)).collect()
}
