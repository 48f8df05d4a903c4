//! Grants: making, loading, ending them. Each is a policy of its own in the owner's set.
//!
//! Not here: a grant's text and signature (`grants`).

use super::{Gate, Side, State};
use crate::cache::Cache;
use crate::error::GateError;
use crate::grants::{GRANTS_MAX, GRANTS_SETTING, GrantId, GrantRecord, GrantScope};
use crate::records::AdminAct;
use tidegate_domain::ids::{RunId, WorkspaceId};
use tidegate_seams::entropy;
use tidegate_store::Write;

impl Gate {
    /// Lets redacted text of a folder sink to internal: a policy signed with the owner's key, in
    /// force at once. Commit the audit entry, and [`Gate::grants_setting`] beside it.
    ///
    /// Call this for the owner alone: on a terminal after asking, elsewhere for the flag.
    pub fn grant_redaction(
        &self,
        workspace: WorkspaceId,
        scope: GrantScope,
        now_ms: u64,
    ) -> Result<(GrantRecord, Write), GateError> {
        if self.0.side != Side::Device {
            return Err(GateError::DeviceOnly);
        }
        let realm = self.0.site.realm;
        if workspace.realm != realm || matches!(scope, GrantScope::Run(run) if run.realm != realm) {
            return Err(GateError::Realm);
        }
        let keeper = self.keeper();
        let id = GrantId(entropy::bytes(self.0.seams.entropy.as_ref()));
        let record = GrantRecord::sign(&keeper.key, self.0.site, id, workspace, scope, now_ms);
        self.add_grants(std::slice::from_ref(&record))?;
        let write = self.admin_entry(&AdminAct::GrantMade { grant: id, workspace, scope }, now_ms);
        Ok((record, write))
    }

    /// Puts stored grants in force, after a restart. If one of them is refused, none is taken.
    pub fn load_grants(&self, records: &[GrantRecord]) -> Result<(), GateError> {
        let keeper = self.keeper();
        for record in records {
            record.verify(&keeper.key, self.0.site)?;
        }
        self.add_grants(records)
    }

    /// Ends a grant at once; `None` if there is no such grant. Commit the audit entry together with
    /// [`Gate::grants_setting`]: without it the grant is back after a restart.
    pub fn revoke(&self, id: GrantId, now_ms: u64) -> Option<Write> {
        let _keeper = self.keeper();
        if self.drop_grants(|record| record.id == id) == 0 {
            return None;
        }
        Some(self.admin_entry(&AdminAct::GrantRevoked { grant: id }, now_ms))
    }

    /// Drops the grants of a run that has ended. `true` if there were any: then commit
    /// [`Gate::grants_setting`].
    pub fn end_run(&self, run: RunId) -> bool {
        let _keeper = self.keeper();
        self.drop_grants(|record| record.scope == GrantScope::Run(run)) > 0
    }

    /// The grants in force, by name.
    pub fn grants(&self) -> Vec<GrantRecord> {
        self.state().grants.values().cloned().collect()
    }

    /// The setting that holds all grants in force, for `GrantRecord::decode_all` and
    /// [`Gate::load_grants`] at the next start.
    pub fn grants_setting(&self) -> Write {
        let state = self.state();
        Write::Setting { name: GRANTS_SETTING.to_owned(), value: GrantRecord::encode_all(state.grants.values()) }
    }

    /// Puts verified records in force, those already there excepted. The caller holds the keeper.
    pub(super) fn add_grants(&self, records: &[GrantRecord]) -> Result<(), GateError> {
        let state = self.state();
        let mut grants = state.grants.clone();
        let mut texts = Vec::new();
        for record in records {
            if grants.insert(record.id, record.clone()).is_none() {
                texts.push(record.text());
            }
        }
        if grants.len() > GRANTS_MAX {
            return Err(GateError::TooManyGrants { max: GRANTS_MAX });
        }
        let owner = self.0.rules.extend(&state.owner, texts.into_iter())?;
        self.swap(State {
            version: state.version,
            organisation: state.organisation.clone(),
            owner,
            grants,
            verdicts: Cache::new(),
            sinkings: Cache::new(),
        });
        Ok(())
    }

    /// Ends grants and says how many. The caller holds the keeper.
    fn drop_grants(&self, ends: impl Fn(&GrantRecord) -> bool) -> usize {
        let state = self.state();
        let ended: Vec<GrantId> = state.grants.values().filter(|r| ends(r)).map(|r| r.id).collect();
        if ended.is_empty() {
            return 0;
        }
        let mut grants = state.grants.clone();
        for id in &ended {
            grants.remove(id);
        }
        self.swap(State {
            version: state.version,
            organisation: state.organisation.clone(),
            owner: state.owner.without(ended.iter().map(GrantId::to_string)),
            grants,
            verdicts: Cache::new(),
            sinkings: Cache::new(),
        });
        ended.len()
    }
}
