//! What is known of the sites when a decision is made.

use crate::remote::Remote;
use crate::site::Site;
use tidegate_domain::placement::SiteView;

/// A snapshot for placement.
pub struct Sites {
    /// The deciding site first.
    pub views: Vec<SiteView>,
    /// Rises whenever a site comes, goes or changes.
    pub version: u64,
}

/// The sites as they are known now.
pub fn sites(site: &Site, remote: &Remote) -> Sites {
    let here = SiteView {
        site: site.id,
        kind: site.kind,
        here: true,
        reachable: true,
        capabilities: site.capabilities(),
        speed_permille: 1_000,
        slots: site.slot_count(),
        load: site.load(),
        rtt_us: 0,
        bytes_per_s: 0,
    };
    let mut views = vec![here];
    let version = remote.append_views(&mut views);
    Sites { views, version }
}
