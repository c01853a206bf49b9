//! `hallpass doctor`.
