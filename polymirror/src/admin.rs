//! The operator's commands: tenants, wallets, targets, grants, tokens. Each is the same call that the API makes.

use std::{path::Path, time::Duration};

use api::{
    Accounts, Operator, Tenant,
    accounts::{Added, ConnectWallet, Positions, SetGrant},
    policy,
};
use execute::Secret;
use schemas::{Address, Mode, SignatureType, Sizing, codec::Codec};
use venue::signing::LocalSigner;
use zeroize::Zeroizing;

use crate::{
    cli::{GrantCommand, TargetCommand, TenantCommand, TokenCommand, WalletCommand},
    error::Error,
    grant::{self, Named},
    installation::{Database, Installation},
    stages::MODES,
};

/// Whoever manages the accounts of an installation.
#[derive(Debug)]
pub struct Admin<'i> {
    installation: &'i Installation,
    accounts: Accounts,
    operator: Operator,
}

impl<'i> Admin<'i> {
    /// Logs in.
    ///
    /// # Errors
    /// A database that cannot be used.
    pub async fn open(installation: &'i Installation, database: &Database) -> Result<Self, Error> {
        // Records go through the outbox: the relay of a running installation writes them under these ids.
        let codec: Codec = installation.codec().await?;
        let (clock, chance) = (installation.clock.clone(), installation.chance.clone());
        let connections = &database.connections;
        let operator = Operator::connect(connections, codec.clone(), clock.clone(), chance.clone()).await;
        let accounts = Accounts::connect(connections, codec, clock, chance).await;
        Ok(Self {
            installation,
            accounts: accounts.map_err(Error::said)?.refusing(decide::plan::unsupported).serving(&MODES),
            operator: operator.map_err(Error::said)?,
        })
    }

    /// Logs out, before a private cluster is stopped under the connections.
    pub async fn close(self) {
        self.accounts.pool().close().await;
        self.operator.close().await;
    }

    /// The tenant of that handle.
    ///
    /// # Errors
    /// There is none.
    pub async fn find(&self, handle: &str) -> Result<Tenant, Error> {
        self.operator.find(handle).await.map_err(|error| match error {
            api::AccountError::NotFound(_) => Error::Argument(format!(
                "there is no tenant `{handle}`. `polymirror tenant list` shows them, `polymirror tenant create {handle}` makes it"
            )),
            other => Error::said(other),
        })
    }

    /// Makes a tenant with a wallet to trade from. The key is the one given, or a new one.
    ///
    /// # Errors
    /// A handle that is taken or none, a key that is none, a wallet of somebody else.
    pub async fn create(&self, handle: &str, key_file: Option<&Path>) -> Result<(Tenant, Address), Error> {
        let (signer, key) = match key_file {
            Some(file) => read_key(file)?,
            None => self.new_key()?,
        };
        let wallet = self.sealed(&signer, &key)?;
        let tenant = self.accounts.create_tenant_with(handle, wallet).await.map_err(Error::said)?;
        Ok((tenant, signer.address()))
    }

    /// A wallet as it is connected: its key sealed for a row of its own.
    fn sealed(&self, signer: &LocalSigner, key: &Zeroizing<[u8; 32]>) -> Result<ConnectWallet, Error> {
        let (chance, row) = (&self.installation.chance, self.installation.chance.uuid());
        let sealing = self.installation.sealing_key()?;
        let sealed = sealing.seal(chance, row, Secret::SigningKey, key.as_slice()).map_err(Error::said)?;
        Ok(ConnectWallet {
            id: row,
            address: signer.address(),
            signature_type: SignatureType::Eoa,
            funder: signer.address(),
            signing_key_sealed: sealed,
            // Execute looks before it lets anything be bought.
            approved_at: None,
        })
    }

    /// The tenant of that handle, with a wallet; made if there is none. The wallet of one that was never allowed anything
    /// may be missing: an earlier program made it later.
    ///
    /// # Errors
    /// The database.
    pub async fn find_or_create(&self, handle: &str) -> Result<Tenant, Error> {
        let tenant = match self.operator.find(handle).await {
            Ok(tenant) => tenant,
            Err(api::AccountError::NotFound(_)) => return Ok(self.create(handle, None).await?.0),
            Err(error) => return Err(Error::said(error)),
        };
        let has_wallet = self.accounts.wallet(tenant).await.map_err(Error::said)?.is_some();
        if !has_wallet && !self.was_allowed(tenant).await? {
            let (signer, key) = self.new_key()?;
            let wallet = self.sealed(&signer, &key)?;
            self.accounts.wallet_connect(tenant, wallet).await.map_err(Error::said)?;
        }
        Ok(tenant)
    }

    /// Whether the tenant ever allowed anything.
    ///
    /// # Errors
    /// The database.
    pub async fn was_allowed(&self, tenant: Tenant) -> Result<bool, Error> {
        self.accounts.was_granted(tenant).await.map_err(Error::said)
    }

    /// Whether the tenant ever followed anybody.
    ///
    /// # Errors
    /// The database.
    pub async fn has_followed(&self, tenant: Tenant) -> Result<bool, Error> {
        Ok(!self.accounts.target_list(tenant).await.map_err(Error::said)?.is_empty())
    }

    fn new_key(&self) -> Result<(LocalSigner, Zeroizing<[u8; 32]>), Error> {
        // Nearly every 256-bit number is a key; the odd one out is drawn again.
        for _ in 0..8 {
            let key = Zeroizing::new(self.installation.chance.bytes::<32>());
            if let Ok(signer) = LocalSigner::from_bytes(&key) {
                return Ok((signer, key));
            }
        }
        Err(Error::Said("signing_key_invalid: the machine gives no random numbers".into()))
    }

    /// Follows a wallet, in the installation's usual mode where none is named.
    ///
    /// # Errors
    /// Settings that do not hold, or that nothing here can carry out.
    pub async fn follow(
        &self,
        tenant: Tenant,
        wallet: Address,
        settings: &[String],
        mode: Option<Mode>,
    ) -> Result<Added, Error> {
        let policy = policy::apply(&policy::with_sizing(Sizing::MinBet), settings).map_err(Error::said)?;
        let mode = mode.unwrap_or_else(|| self.accounts.usual_mode());
        let added = self.accounts.target_add(tenant, wallet, mode, policy).await;
        Ok(added.map_err(Error::said)?.1)
    }

    /// Sets what the mirror may spend.
    ///
    /// # Errors
    /// Caps below zero.
    pub async fn allow(&self, tenant: Tenant, terms: SetGrant) -> Result<i64, Error> {
        Ok(self.accounts.grant_set(tenant, terms, None).await.map_err(Error::said)?.revision)
    }

    /// `tenant …`.
    ///
    /// # Errors
    /// Whatever went wrong.
    pub async fn tenant(&self, command: &TenantCommand) -> Result<(), Error> {
        match command {
            TenantCommand::Create { handle, key_file } => {
                let (tenant, wallet) = self.create(handle, key_file.as_deref()).await?;
                println!("tenant {handle}: account {}, trades from {wallet} (simulated)", tenant.account);
                println!("next: polymirror grant set --tenant {handle} --per-order 5 --daily 50");
                println!("then: polymirror target add --tenant {handle} <wallet to follow>");
            }
            TenantCommand::List => {
                for listed in self.operator.list().await.map_err(Error::said)? {
                    println!("{:<24} {}", listed.handle, listed.tenant.account);
                }
            }
        }
        Ok(())
    }

    /// `wallet …`.
    ///
    /// # Errors
    /// Whatever went wrong.
    pub async fn wallet(&self, command: &WalletCommand) -> Result<(), Error> {
        match command {
            WalletCommand::Connect { tenant: handle, key_file } => {
                let tenant = self.find(handle).await?;
                let (signer, key) = read_key(key_file)?;
                let wallet = self.sealed(&signer, &key)?;
                let connection = self.accounts.wallet_connect(tenant, wallet).await.map_err(Error::said)?;
                println!("{handle} trades from {} (simulated)", connection.address);
            }
            WalletCommand::Revoke { tenant: handle } => {
                let tenant = self.find(handle).await?;
                let connection = self.accounts.wallet_revoke(tenant).await.map_err(Error::said)?;
                println!(
                    "{handle} trades from {} no more: nothing is signed with it, exits neither",
                    connection.address
                );
            }
        }
        Ok(())
    }

    /// `target …`.
    ///
    /// # Errors
    /// Whatever went wrong.
    pub async fn target(&self, command: &TargetCommand) -> Result<(), Error> {
        match command {
            TargetCommand::Add { tenant, wallet, settings, mode } => {
                let (tenant, wallet) = (self.find(tenant).await?, address(wallet)?);
                let mode = mode.as_deref().map(str::parse).transpose().map_err(Error::said)?;
                match self.follow(tenant, wallet, settings, mode).await? {
                    Added::New => println!("following {wallet}"),
                    Added::Again => println!("following {wallet} again"),
                    Added::Already => println!("{wallet} is followed already; nothing changed"),
                }
            }
            TargetCommand::Remove { tenant, wallet, positions } => {
                let (tenant, wallet) = (self.find(tenant).await?, address(wallet)?);
                let positions: Positions = positions.parse().map_err(Error::said)?;
                let target = self.accounts.target_of(tenant, wallet).await.map_err(Error::said)?;
                let target = self.accounts.target_remove(tenant, target.row, positions, None).await;
                println!("{wallet} is {}", target.map_err(Error::said)?.status);
            }
            TargetCommand::List { tenant } => {
                let tenant = self.find(tenant).await?;
                for target in self.accounts.target_list(tenant).await.map_err(Error::said)? {
                    let settings: Vec<String> = policy::pairs(&target.policy)
                        .iter()
                        .map(|(name, value)| format!("{name}={value}"))
                        .collect();
                    println!(
                        "{} {:<8} {:<10} {}",
                        target.wallet,
                        target.status,
                        target.mode,
                        settings.join(" ")
                    );
                }
            }
        }
        Ok(())
    }

    /// `grant …`.
    ///
    /// # Errors
    /// Whatever went wrong.
    pub async fn grant(&self, command: &GrantCommand) -> Result<(), Error> {
        let GrantCommand::Set { tenant, terms, revoke } = command;
        let account = self.find(tenant).await?;
        if *revoke {
            let grant = self.accounts.grant_revoke(account, None).await.map_err(Error::said)?;
            println!("grant of {tenant} taken back (revision {})", grant.revision);
            return Ok(());
        }
        let now = self.installation.clock.now();
        let named = Named::of(terms, now)?;
        let grant = self.accounts.grant_amend(account, |there| named.on(there)).await.map_err(Error::said)?;
        println!("grant of {tenant}: {} (revision {})", grant::told(&grant.terms, now), grant.revision);
        Ok(())
    }

    /// `token …`.
    ///
    /// # Errors
    /// Whatever went wrong.
    pub async fn token(&self, command: &TokenCommand) -> Result<(), Error> {
        match command {
            TokenCommand::Create { tenant, name, expires_in_days } => {
                let account = self.find(tenant).await?;
                let days = expires_in_days.map(|days| Duration::from_secs(86_400 * u64::from(days)));
                let expires_at = days.map(|days| self.installation.clock.now().plus(days));
                let made = self.accounts.token_create(account, name, expires_at).await;
                let (_, secret) = made.map_err(Error::said)?;
                eprintln!("token `{name}` of {tenant}, shown this once:");
                println!("{}", secret.expose());
            }
            TokenCommand::List { tenant } => {
                let now = self.installation.clock.now();
                let tenant = self.find(tenant).await?;
                for token in self.accounts.token_list(tenant).await.map_err(Error::said)? {
                    let state = match (token.revoked_at, token.expires_at) {
                        (Some(_), _) => "revoked",
                        (None, Some(at)) if at <= now => "expired",
                        (None, _) => "valid",
                    };
                    let until = token.expires_at.map(|at| format!("until {}", api::http::rfc3339(at)));
                    let since = api::http::rfc3339(token.created_at);
                    println!("{:<24} {state:<8} since {since} {}", token.name, until.unwrap_or_default());
                }
            }
            TokenCommand::Revoke { tenant, name } => {
                let account = self.find(tenant).await?;
                let token = self.accounts.token_revoke(account, name).await.map_err(Error::said)?;
                println!("token `{}` of {tenant} is revoked", token.name);
            }
        }
        Ok(())
    }
}

fn address(text: &str) -> Result<Address, Error> {
    text.parse().map_err(|e| Error::Argument(format!("{e}; a wallet is 0x and 40 hex digits")))
}

fn read_key(file: &Path) -> Result<(LocalSigner, Zeroizing<[u8; 32]>), Error> {
    let unreadable = |e: std::io::Error| Error::Argument(format!("{}: {e}", file.display()));
    let text = Zeroizing::new(std::fs::read_to_string(file).map_err(unreadable)?);
    let signer =
        LocalSigner::from_hex(&text).map_err(|e| Error::Argument(format!("{}: {e}", file.display())))?;
    let digits = text.trim();
    let mut key = Zeroizing::new([0; 32]);
    const_hex::decode_to_slice(digits.strip_prefix("0x").unwrap_or(digits), key.as_mut_slice())
        .map_err(|e| Error::Argument(format!("{}: {e}", file.display())))?;
    Ok((signer, key))
}
