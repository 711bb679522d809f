//! The sessions of the sample application, and of whoever shares its store and keyring.

use std::path::Path;

use stayput::{Builder, Error, OnWiped, Outage, Policy, Sessions, SharedKeyring};
use stayput_stores::StoreUrl;

use crate::failure::Failure;

/// Opens the store and checks that the keyring is the one it was written with; for who serves nobody.
pub(crate) async fn check(
    url: &StoreUrl,
    keyring: SharedKeyring,
    policy: Policy,
    keyring_path: &Path,
) -> Result<Sessions, Failure> {
    let policy = Policy { outage: Outage::Refuse, on_wiped: OnWiped::LogOut, lifeboat: Vec::new(), ..policy };
    open(url, keyring, policy, keyring_path, |builder| builder).await
}

/// The same for who serves users; `equip` gives what the policy asks of an application.
pub(crate) async fn open(
    url: &StoreUrl,
    keyring: SharedKeyring,
    policy: Policy,
    keyring_path: &Path,
    equip: impl FnOnce(Builder) -> Builder,
) -> Result<Sessions, Failure> {
    let failed = |error| Failure::other(format!("cannot open the session store {url}")).because(error);
    let store = url.open().await.map_err(|error| {
        let check = match url {
            StoreUrl::Redis(_) => "see that the server runs there and lets this machine in",
            _ => "check that the file's directory exists and is yours",
        };
        failed(error).way_out(format!("{check}, or name another with --store"))
    })?;
    let sessions = equip(Sessions::builder_shared(store).keyring(keyring).policy(policy))
        .build()
        .map_err(|error| Failure::usage("the session policy is not valid").because(error))?;
    match sessions.check_keyring().await {
        Ok(()) => Ok(sessions),
        Err(Error::Keyring(error)) => Err(Failure::other(format!(
            "the keyring {} is not the one that the sessions in {url} were written with",
            keyring_path.display()
        ))
        .because(error)
        .way_out(
            "put the right keyring there; or, to start without the old sessions, name another store with \
                 --store. Nothing was changed.",
        )),
        Err(error) => Err(Failure::other(format!("cannot use the session store {url}")).because(error)),
    }
}
