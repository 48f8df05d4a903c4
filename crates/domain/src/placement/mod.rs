//! Where a unit runs: first what is possible, then what completes earliest, with the reasons.
//!
//! `decide` is a pure function of the request and of what is known of each site; equal arguments
//! give the equal decision on any site (invariant I10), which is why costs are integer
//! microseconds. A [`Decision`] is immutable, is journaled with the attempt, and explains itself.
//!
//! Today it looks at one unit at a time: feasibility, then predicted completion from cost hints,
//! measured round trip and bandwidth, and queues. It does not look ahead.

use crate::ids::SiteId;
use crate::ops::{Capability, OpSpec, SiteKind};
use crate::workflow::{At, Offline, Place, Prefer};

/// What is known of a site when a decision is made.
#[derive(Clone, Debug, PartialEq)]
pub struct SiteView {
    /// The site.
    pub site: SiteId,
    /// What kind it is.
    pub kind: SiteKind,
    /// Whether this is the site that decides.
    pub here: bool,
    /// Whether it can be reached now.
    pub reachable: bool,
    /// What it has.
    pub capabilities: Vec<Capability>,
    /// How fast it computes, in thousandths of the reference.
    pub speed_permille: u32,
    /// Attempts it works on at once.
    pub slots: u32,
    /// Attempts that run or wait there now.
    pub load: u32,
    /// Round trip, in microseconds; 0 here.
    pub rtt_us: u64,
    /// Bandwidth to it, in bytes per second; 0 means unknown.
    pub bytes_per_s: u64,
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The operation.
    pub op: &'static OpSpec,
    /// Bytes of its input.
    pub input_bytes: u64,
    /// The request's wishes.
    pub place: &'a Place,
    /// Time since the run began, in milliseconds.
    pub elapsed_ms: u64,
    /// Version of the snapshot that the site views come from.
    pub snapshot_version: u64,
}

/// Whether the input may go to a site: the gate's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clearance {
    /// It may.
    Cleared,
    /// It may not, by this rule.
    Denied {
        /// The rule's name.
        rule: String,
        /// Plain words.
        why: String,
    },
}

/// What excludes a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exclusion {
    /// The operation does not run on this kind of site.
    SiteKind,
    /// The site lacks something.
    Capability(Capability),
    /// The request asks for the other side.
    Request(At),
    /// A policy denies the transfer.
    Policy {
        /// The rule's name.
        rule: String,
        /// Plain words.
        why: String,
    },
    /// The site cannot be reached now.
    Unreachable,
    /// The input is larger than one transfer may be.
    TooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
}

impl Exclusion {
    /// A short stable name for output.
    pub fn name(&self) -> String {
        match self {
            Exclusion::SiteKind => "operation does not run on this kind of site".into(),
            Exclusion::Capability(what) => format!("the site has no {}", what.as_str()),
            Exclusion::Request(At::Local) => "the workflow says `place: local`".into(),
            Exclusion::Request(_) => "the workflow says `place: remote`".into(),
            Exclusion::Policy { rule, .. } => format!("policy {rule}"),
            Exclusion::Unreachable => "not reachable now".into(),
            Exclusion::TooLarge { limit } => format!("input over the transfer limit of {limit} bytes"),
        }
    }
}

/// A site that was looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The site.
    pub site: SiteId,
    /// What kind it is.
    pub kind: SiteKind,
    /// Why it is out, if it is.
    pub excluded_by: Option<Exclusion>,
    /// Predicted wait for a slot, in microseconds.
    pub queue_us: u64,
    /// Predicted time on the link, in microseconds.
    pub transfer_us: u64,
    /// Predicted computing, in microseconds.
    pub compute_us: u64,
}

impl Candidate {
    /// Predicted time to completion, in microseconds.
    pub fn total_us(&self) -> u64 {
        self.queue_us.saturating_add(self.transfer_us).saturating_add(self.compute_us)
    }
}

/// What decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// Only one site is possible.
    OnlyPossible,
    /// The operation's data lives there and may not leave it.
    DataLivesThere,
    /// Earliest predicted completion.
    Fastest,
    /// The request prefers the device.
    Private,
    /// No site is possible.
    Nowhere,
}

/// Where a unit runs, and why there.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Index into `candidates` of the chosen one.
    pub chosen: Option<usize>,
    /// All sites that were looked at, the deciding site first.
    pub candidates: Vec<Candidate>,
    /// What decided.
    pub because: Because,
    /// Version of the snapshot it was decided on.
    pub snapshot_version: u64,
}

/// Why there is no site, as far as the caller must tell them apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nowhere {
    /// A policy forbids the only sites that could do it.
    Refused {
        /// The rule.
        rule: String,
        /// Plain words.
        why: String,
    },
    /// A site that could do it is away.
    Away {
        /// Which.
        site: SiteId,
        /// What the request wants done meanwhile.
        offline: Offline,
    },
    /// No site could ever do it.
    Impossible {
        /// Plain words.
        why: String,
    },
}

impl Decision {
    /// The chosen candidate.
    pub fn winner(&self) -> Option<&Candidate> {
        self.chosen.and_then(|at| self.candidates.get(at))
    }

    /// Why there is none; meaningful only without a winner.
    pub fn nowhere(&self, place: &Place) -> Nowhere {
        let excluded = |c: &Candidate| c.excluded_by.clone();
        for candidate in &self.candidates {
            if excluded(candidate) == Some(Exclusion::Unreachable) {
                return Nowhere::Away { site: candidate.site, offline: place.offline };
            }
        }
        for candidate in &self.candidates {
            if let Some(Exclusion::Policy { rule, why }) = excluded(candidate) {
                return Nowhere::Refused { rule, why };
            }
        }
        let reasons: Vec<String> = self
            .candidates
            .iter()
            .filter_map(|c| c.excluded_by.as_ref().map(|e| format!("{}: {}", c.kind.as_str(), e.name())))
            .collect();
        Nowhere::Impossible { why: reasons.join("; ") }
    }

    /// One line for a table.
    pub fn reason(&self) -> String {
        let Some(winner) = self.winner() else {
            return self
                .candidates
                .iter()
                .filter_map(|c| c.excluded_by.as_ref())
                .map(Exclusion::name)
                .collect::<Vec<_>>()
                .join("; ");
        };
        let others = || {
            let names: Vec<String> = self
                .candidates
                .iter()
                .filter_map(|c| c.excluded_by.as_ref().map(|e| format!("{}: {}", c.kind.as_str(), e.name())))
                .collect();
            names.join("; ")
        };
        match self.because {
            Because::OnlyPossible if self.candidates.len() == 1 => "the only site".into(),
            Because::OnlyPossible => format!("only possible here ({})", others()),
            Because::DataLivesThere => "its data lives there".into(),
            Because::Private => "the workflow prefers the device".into(),
            Because::Nowhere => others(),
            Because::Fastest => {
                let next = self
                    .candidates
                    .iter()
                    .enumerate()
                    .filter(|(i, c)| Some(*i) != self.chosen && c.excluded_by.is_none())
                    .map(|(_, c)| c)
                    .min_by_key(|c| c.total_us());
                match next {
                    Some(next) => format!(
                        "fastest: {} on the {} against {} on the {}",
                        duration(winner.total_us()),
                        winner.kind.as_str(),
                        duration(next.total_us()),
                        next.kind.as_str()
                    ),
                    None => "fastest".into(),
                }
            }
        }
    }
}

fn duration(us: u64) -> String {
    match us {
        0..=999 => format!("{us} µs"),
        1_000..=999_999 => format!("{:.1} ms", us as f64 / 1e3),
        _ => format!("{:.1} s", us as f64 / 1e6),
    }
}

/// Decides where a unit runs. `sites` begins with the deciding site; `clearance` is asked only for
/// sites that are possible otherwise, since it is the dearest test.
pub fn decide(request: &Request<'_>, sites: &[SiteView], clearance: &dyn Fn(&SiteView) -> Clearance) -> Decision {
    let candidates: Vec<Candidate> = sites.iter().map(|site| look_at(request, site, clearance)).collect();
    let possible = |c: &&(usize, &Candidate)| c.1.excluded_by.is_none();
    let feasible = candidates.iter().enumerate().collect::<Vec<_>>();
    let count = feasible.iter().filter(possible).count();

    let (chosen, because) = if count == 0 {
        (None, Because::Nowhere)
    } else {
        let local = feasible.iter().filter(possible).find(|(i, _)| sites.get(*i).is_some_and(|s| s.here));
        // Ties go to the first, which is the deciding site: staying costs nobody anything.
        let best = feasible.iter().filter(possible).min_by_key(|(i, c)| (c.total_us(), *i));
        match (request.place.prefer, local) {
            _ if count == 1 => {
                let (at, winner) = best.map_or((0, &candidates[0]), |(i, c)| (*i, *c));
                let fetched = request.op.needs.contains(&Capability::Library) && winner.kind != SiteKind::Device;
                (Some(at), if fetched { Because::DataLivesThere } else { Because::OnlyPossible })
            }
            (Prefer::Private, Some((at, _))) => (Some(*at), Because::Private),
            _ => (best.map(|(i, _)| *i), Because::Fastest),
        }
    };
    Decision { chosen, candidates, because, snapshot_version: request.snapshot_version }
}

fn look_at(request: &Request<'_>, site: &SiteView, clearance: &dyn Fn(&SiteView) -> Clearance) -> Candidate {
    let compute = request
        .op
        .cost
        .fixed_us
        .saturating_add(request.op.cost.ns_per_byte.saturating_mul(request.input_bytes) / 1_000);
    let compute_us = compute.saturating_mul(1_000) / u64::from(site.speed_permille.max(1));
    let transfer_us = if site.here {
        0
    } else {
        let on_the_link = request.input_bytes.saturating_mul(1_000_000).checked_div(site.bytes_per_s).unwrap_or(0);
        site.rtt_us.saturating_add(on_the_link)
    };
    let waiting = u64::from((site.load + 1).saturating_sub(site.slots.max(1)));
    Candidate {
        site: site.site,
        kind: site.kind,
        excluded_by: exclusion(request, site, clearance),
        queue_us: waiting.saturating_mul(compute_us) / u64::from(site.slots.max(1)),
        transfer_us,
        compute_us,
    }
}

fn exclusion(request: &Request<'_>, site: &SiteView, clearance: &dyn Fn(&SiteView) -> Clearance) -> Option<Exclusion> {
    let op = request.op;
    if !op.sites.contains(&site.kind) {
        return Some(Exclusion::SiteKind);
    }
    match request.place.at {
        At::Local if !site.here => return Some(Exclusion::Request(At::Local)),
        At::Remote if site.here => return Some(Exclusion::Request(At::Remote)),
        _ => {}
    }
    if let Some(missing) = op.needs.iter().find(|need| !site.capabilities.contains(need)) {
        return Some(Exclusion::Capability(*missing));
    }
    if !site.here {
        if let Clearance::Denied { rule, why } = clearance(site) {
            return Some(Exclusion::Policy { rule, why });
        }
        let limit = crate::limits::TRANSFER_BYTES_MAX as u64;
        if request.input_bytes > limit {
            return Some(Exclusion::TooLarge { limit });
        }
    }
    (!site.reachable).then_some(Exclusion::Unreachable)
}

#[cfg(test)]
mod tests;
