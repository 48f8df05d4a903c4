//! `tidegate resume`: goes on with a run, or watches one that goes on.

use super::run;
use crate::args::Common;
use crate::exit::{Failed, Outcome};
use crate::supervisor::Plan;
use crate::{folders, owner};

pub async fn resume(run: &str, common: Common) -> Outcome {
    let data = folders::data(common.data.as_deref())?;
    if !folders::device(&data).join("journal.db").exists() {
        return Err(Failed::new("E2007", format!("nothing has run in `{}` yet", data.display())));
    }
    let plan = Plan { data, library: None, record: None, port: None, verbose: false };
    // A node resumes every run that had not ended as soon as it opens.
    let owned = owner::find_or_start(plan.clone()).await?;
    if let Err(failed) = owned.client.json("GET", &format!("/v1/runs/{}", super::explain::encode(run)), None).await {
        super::leave(owned).await;
        return Err(failed);
    }
    let stuck = owned.supervisor.as_ref().and_then(|s| s.running.stuck.iter().find(|(stuck, _)| stuck == run).cloned());
    if let Some((_, why)) = stuck {
        super::leave(owned).await;
        return Err(Failed::new("E2005", format!("{run} cannot go on: {why}")));
    }
    run::watch(plan, owned.client, owned.supervisor, run, common.json).await
}
