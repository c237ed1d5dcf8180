//! Services split over jobs that know nothing of each other: the same services and durations give the same split everywhere.

use std::fmt;
use std::str::FromStr;

use crate::exit::{Exit, Failure};
use crate::fingerprint::fingerprint;

/// One part of a split, as `2/3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Which, from 1.
    pub number: usize,
    /// Of how many.
    pub of: usize,
}

/// How many parts a split may have: a matrix of GitHub has no more jobs (its documentation, "Usage limits").
pub const MOST_SHARDS: usize = 256;

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("write K/N, such as 2/3, with K from 1 to N and N to {MOST_SHARDS}");
        let (number, of) = text.split_once('/').ok_or_else(wrong)?;
        let shard = Self {
            number: number.parse().map_err(|_| wrong())?,
            of: of.parse().map_err(|_| wrong())?,
        };
        let is_one = (1..=shard.of).contains(&shard.number) && shard.of <= MOST_SHARDS;
        is_one.then_some(shard).ok_or_else(wrong)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

/// A service that is to be in one of the parts.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    /// Its name.
    pub service: String,
    /// How long its suites take; none of one that is new.
    pub seconds: Option<f64>,
    /// Whether it is never with others in a run.
    pub alone: bool,
}

/// All parts of a split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// The services of each, by name. One may be empty.
    pub shards: Vec<Vec<String>>,
    /// A short name for all that decided it: jobs that show another one have split another set.
    pub name: String,
}

/// Splits services: the longest first, to the part that has least to do, which may hold `most` of them. One that is new counts as the
/// median; where all are, they are split evenly by name.
pub fn split(services: &[Share], of: usize, most: usize) -> Result<Split, Failure> {
    let usual = median(services);
    let mut ordered: Vec<(f64, &Share)> = services
        .iter()
        .map(|share| (share.seconds.unwrap_or(usual), share))
        .collect();
    ordered.sort_by(|(a, one), (b, other)| {
        b.total_cmp(a).then_with(|| one.service.cmp(&other.service))
    });
    let name = name(&ordered, of);
    let (alone, others): (Vec<_>, Vec<_>) = ordered.into_iter().partition(|(_, it)| it.alone);
    let least = alone.len() + others.len().div_ceil(most);
    if least > of {
        let names: Vec<&str> = alone.iter().map(|(_, it)| it.service.as_str()).collect();
        let why = if names.is_empty() {
            format!("a run holds {most} at most")
        } else {
            format!(
                "a run holds {most} at most, and never others beside {}",
                names.join(", ")
            )
        };
        let what = format!(
            "{} services do not fit into {of} shards: {why}",
            services.len()
        );
        return Err(Failure::new(Exit::Usage, what).hint(format!("take {least} shards or more")));
    }
    let mut shards: Vec<(f64, Vec<String>)> = vec![(0.0, Vec::new()); of];
    let (own, shared) = shards.split_at_mut(alone.len());
    for (shard, (seconds, share)) in own.iter_mut().zip(alone) {
        *shard = (seconds, vec![share.service.clone()]);
    }
    for (seconds, share) in others {
        let free = shared.iter_mut().filter(|(_, names)| names.len() < most);
        // The first of equals: `min_by` says so.
        let least = free
            .min_by(|(a, some), (b, others)| a.total_cmp(b).then(some.len().cmp(&others.len())));
        if let Some((load, names)) = least {
            *load += seconds;
            names.push(share.service.clone());
        }
    }
    let shards = shards.into_iter().map(|(_, mut names)| {
        names.sort();
        names
    });
    Ok(Split {
        shards: shards.collect(),
        name,
    })
}

/// What one that is new counts as.
pub fn median(services: &[Share]) -> f64 {
    let mut known: Vec<f64> = services.iter().filter_map(|share| share.seconds).collect();
    known.sort_by(f64::total_cmp);
    let middle = known.len() / 2;
    match known.len() {
        0 => 1.0,
        odd if odd % 2 == 1 => known[middle],
        _ => f64::midpoint(known[middle - 1], known[middle]),
    }
}

fn name(ordered: &[(f64, &Share)], of: usize) -> String {
    let shares = ordered
        .iter()
        .map(|(seconds, share)| format!("{} {seconds:?} {}", share.service, share.alone));
    let parts: Vec<String> = std::iter::once(of.to_string()).chain(shares).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    fingerprint(&parts)[..8].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn share(service: &str, seconds: Option<f64>) -> Share {
        Share {
            service: service.to_owned(),
            seconds,
            alone: false,
        }
    }

    prop_compose! {
        fn services()(
            of in prop::collection::btree_map("[a-z]{1,6}", (prop::option::of(0.0..900.0), prop::bool::weighted(0.1)), 1..30),
        ) -> Vec<Share> {
            of.into_iter().map(|(service, (seconds, alone))| Share { service, seconds, alone }).collect()
        }
    }

    proptest! {
        #[test]
        fn every_service_is_in_exactly_one_shard_whatever_order_they_come_in(
            services in services(), of in 1_usize..12, most in 1_usize..9, turn in 0_usize..30,
        ) {
            let mut turned = services.clone();
            turned.rotate_left(turn % services.len());
            turned.reverse();
            let Ok(split) = split(&services, of, most) else {
                let alone = services.iter().filter(|share| share.alone).count();
                prop_assert!(alone + (services.len() - alone).div_ceil(most) > of);
                return Ok(());
            };
            prop_assert_eq!(&split, &super::split(&turned, of, most).expect("the same"));
            let mut names = split.shards.concat();
            names.sort();
            let mut all: Vec<_> = services.iter().map(|share| share.service.clone()).collect();
            all.sort();
            prop_assert_eq!(names, all);
            prop_assert_eq!(split.shards.len(), of);
            for shard in &split.shards {
                let alone = |name: &String| services.iter().any(|share| share.service == *name && share.alone);
                prop_assert!(shard.len() <= most);
                prop_assert!(shard.len() == 1 || !shard.iter().any(alone));
            }
        }

        #[test]
        fn no_shard_has_more_than_its_fair_share_by_more_than_its_last_service(
            services in services(), of in 1_u32..12,
        ) {
            let services: Vec<_> = services.into_iter().map(|share| Share { alone: false, ..share }).collect();
            let usual = median(&services);
            let split = split(&services, of as usize, services.len()).expect("they fit");
            let seconds = |name: &String| {
                let share = services.iter().find(|share| share.service == *name).expect("one of them");
                share.seconds.unwrap_or(usual)
            };
            let fair = services.iter().map(|share| share.seconds.unwrap_or(usual)).sum::<f64>() / f64::from(of);
            for shard in &split.shards {
                let load: f64 = shard.iter().map(seconds).sum();
                let last = shard.iter().map(seconds).fold(f64::INFINITY, f64::min);
                prop_assert!(shard.is_empty() || load - last <= fair + 1e-6, "{load} {last} {fair}");
            }
        }

        #[test]
        fn without_durations_no_shard_has_two_services_more_than_another(
            services in services(), of in 1_usize..12,
        ) {
            let services: Vec<_> = services.iter().map(|it| share(&it.service, None)).collect();
            let split = split(&services, of, services.len()).expect("they fit");
            let counts: Vec<usize> = split.shards.iter().map(Vec::len).collect();
            prop_assert!(counts.iter().max() <= counts.iter().min().map(|least| least + 1).as_ref());
        }
    }

    #[test]
    fn the_longest_goes_first_and_one_that_is_new_counts_as_the_median() {
        let services = [
            share("long", Some(90.0)),
            share("new", None),
            share("middle", Some(40.0)),
            share("short", Some(10.0)),
        ];
        let split = split(&services, 2, 7).unwrap();
        assert_eq!(split.shards, [vec!["long"], vec!["middle", "new", "short"]]);
    }

    #[test]
    fn a_shard_that_is_full_gets_no_more_even_where_it_has_least_to_do() {
        let short = ["b", "c", "d"].map(|name| share(name, Some(1.0)));
        let services = [&[share("a", Some(900.0))][..], &short].concat();
        let split = split(&services, 2, 2).unwrap();
        assert_eq!(split.shards, [vec!["a", "d"], vec!["b", "c"]]);
    }

    #[test]
    fn another_duration_another_set_or_another_number_gives_the_split_another_name() {
        let services = [share("a", Some(1.0)), share("b", Some(2.0))];
        let name = |services: &[Share], of| split(services, of, 7).unwrap().name;
        let first = name(&services, 2);
        assert_ne!(first, name(&services, 3));
        assert_ne!(first, name(&services[..1], 2));
        assert_ne!(first, name(&[share("a", Some(1.0)), share("b", None)], 2));
    }

    #[test]
    fn what_is_no_shard_is_refused() {
        for text in [
            "0/3", "4/3", "2", "", "1/0", "a/b", "1/257", "-1/3", "1/3/5",
        ] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
        assert_eq!("3/3".parse(), Ok(Shard { number: 3, of: 3 }));
    }

    #[test]
    fn more_services_than_runs_can_hold_say_how_many_shards_do() {
        let names: Vec<Share> = (0..8).map(|at| share(&format!("s{at}"), None)).collect();
        let failure = split(&names, 1, 7).unwrap_err();
        assert_eq!(failure.hint.as_deref(), Some("take 2 shards or more"));
    }
}
