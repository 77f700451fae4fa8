//! Secrets that are recognised by their format, whatever precedes them.
//!
//! The formats are those that their issuers document; gitleaks, detect-secrets and GitHub's own scanning look for the
//! same ones.

use std::sync::LazyLock;

use regex::bytes::Regex;

/// A format: its possible prefixes in lower case, and a pattern. If the pattern has a group, only the group is the
/// secret.
pub(super) struct SecretFormat {
    pub(super) prefixes: &'static [&'static str],
    pattern: &'static str,
    /// The format may not begin in the middle of a word, since words end with its prefix.
    whole_word: bool,
}

const fn format(begins: &'static [&'static str], pattern: &'static str) -> SecretFormat {
    SecretFormat { prefixes: begins, pattern, whole_word: false }
}

/// A format that may begin only at the start of a word.
const fn word_format(begins: &'static [&'static str], pattern: &'static str) -> SecretFormat {
    SecretFormat { prefixes: begins, pattern, whole_word: true }
}

/// All known formats.
pub(super) const SECRET_FORMATS: [SecretFormat; 38] = [
    // Amazon and Alibaba: key ids.
    format(&["akia", "asia"], "(?:AKIA|ASIA)[0-9A-Z]{16}"),
    word_format(&["ltai"], "LTAI[A-Za-z0-9]{12,24}"),
    // GitHub and GitLab.
    format(&["ghp_", "gho_", "ghu_", "ghs_", "ghr_"], "gh[pousr]_[A-Za-z0-9]{20,255}"),
    format(&["github_pat_"], "github_pat_[A-Za-z0-9_]{22,255}"),
    format(
        &[
            "glpat-", "gldt-", "glrt-", "glrtr-", "glcbt-", "glptt-", "glft-", "glimt-", "glagent-", "gloas-",
            "glsoat-", "glffct-",
        ],
        "gl[a-z]{2,6}-[A-Za-z0-9_=.-]{20,300}",
    ),
    // Slack, Discord and Teams, with their webhooks; Telegram.
    format(&["xox"], "xox[a-z]-[A-Za-z0-9.-]{11,255}"),
    format(&["xapp-"], "xapp-[0-9]-[A-Za-z0-9-]{20,255}"),
    format(&["hooks.slack.com/"], "hooks\\.slack\\.com/(?:services|workflows|triggers)/([A-Za-z0-9/_-]{20,})"),
    format(&["/api/webhooks/"], "/api/webhooks/([0-9]{10,}/[A-Za-z0-9_-]{40,})"),
    format(&["webhook.office.com/"], "webhook\\.office\\.com/(?:webhookb2/)?([A-Za-z0-9@/_-]{40,})"),
    format(&["api.telegram.org/bot"], "api\\.telegram\\.org/bot([0-9]{6,12}:[A-Za-z0-9_-]{30,})"),
    // Google.
    format(&["aiza"], "AIza[0-9A-Za-z_-]{35}"),
    format(&["ya29."], "ya29\\.[0-9A-Za-z_.-]{20,}"),
    format(&["gocspx-"], "GOCSPX-[A-Za-z0-9_-]{20,}"),
    // Payment: Stripe, Square, Shopify, Shippo.
    format(&["sk_live_", "rk_live_", "sk_test_", "rk_test_"], "[rs]k_(?:live|test)_[0-9A-Za-z]{16,255}"),
    format(&["whsec_"], "whsec_[0-9A-Za-z+/=]{16,255}"),
    word_format(&["sq0atp-", "sq0csp-", "sq0idp-"], "sq0[a-z]{3}-[0-9A-Za-z_-]{20,}"),
    format(&["shpat_", "shpca_", "shpss_", "shppa_"], "shp(?:at|ca|ss|pa)_[a-fA-F0-9]{32}"),
    format(&["shippo_"], "shippo_(?:live|test)_[a-f0-9]{40}"),
    // Package registries: npm, PyPI, RubyGems, Docker, Artifactory.
    format(&["npm_"], "npm_[A-Za-z0-9]{36}"),
    word_format(&["pypi-"], "pypi-[A-Za-z0-9_-]{32,}"),
    format(&["rubygems_"], "rubygems_[a-f0-9]{48}"),
    format(&["dckr_pat_"], "dckr_pat_[A-Za-z0-9_-]{20,}"),
    word_format(&["akcp"], "AKCp[0-9][A-Za-z0-9]{11,}"),
    // Language models: OpenAI, Anthropic, Hugging Face, Groq, xAI, NVIDIA.
    word_format(&["sk-"], "sk-(?:[a-z]+[0-9]*-)*[A-Za-z0-9_-]{20,}"),
    word_format(&["hf_"], "hf_[A-Za-z0-9]{30,}"),
    word_format(&["gsk_", "xai-", "nvapi-"], "(?:gsk_|xai-|nvapi-)[A-Za-z0-9_-]{32,}"),
    // Clouds and infrastructure: DigitalOcean, HashiCorp, Databricks, Doppler, Tailscale, PlanetScale.
    format(&["dop_v1_", "doo_v1_", "dor_v1_"], "do[opr]_v1_[a-f0-9]{64}"),
    word_format(&["hvs.", "hvb."], "hv[sb]\\.[A-Za-z0-9_-]{20,}"),
    format(&[".atlasv1."], "\\.atlasv1\\.([A-Za-z0-9_=-]{40,})"),
    word_format(&["dapi"], "dapi[a-f0-9]{32}"),
    word_format(&["dp.pt.", "dp.st.", "dp.ct.", "dp.sa."], "dp\\.(?:pt|st|ct|sa)\\.[A-Za-z0-9._-]{40,}"),
    format(&["tskey-", "pscale_"], "(?:tskey-[a-z]+-[A-Za-z0-9-]{16,}|pscale_(?:tkn|pw|oauth)_[A-Za-z0-9_.=-]{32,})"),
    // Monitoring and mail: Grafana, New Relic, Sentry, SendGrid, Mailgun, Brevo.
    word_format(&["glsa_", "glc_"], "(?:glsa_[A-Za-z0-9]{32}_[a-f0-9]{8}|glc_[A-Za-z0-9+/=]{32,})"),
    word_format(&["nrak-"], "NRAK-[A-Za-z0-9-]{20,}"),
    word_format(
        &["sntrys_", "sntryu_", "sg.", "xkeysib-"],
        "(?:sntry[su]_[A-Za-z0-9+/=_-]{40,}|SG\\.[A-Za-z0-9_-]{16,32}\\.[A-Za-z0-9_-]{16,64}|xkeysib-[A-Za-z0-9-]{40,})",
    ),
    // Tools: Linear, Atlassian, Figma, Notion, Postman, age.
    format(
        &["lin_api_", "lin_oauth_", "atatt3", "figd_", "ntn_", "pmak-", "age-secret-key-1"],
        "(?:lin_(?:api|oauth)_[A-Za-z0-9]{32,}|ATATT3[A-Za-z0-9_=-]{50,}|figd_[A-Za-z0-9_-]{30,}|ntn_[A-Za-z0-9]{40,}|PMAK-[a-f0-9-]{50,}|AGE-SECRET-KEY-1[0-9A-Z]{40,})",
    ),
    // A JWT (RFC 7519), whose header begins with `{"`, or an encrypted one.
    format(
        &["eyj"],
        "eyJ[A-Za-z0-9_-]{8,}\\.[A-Za-z0-9_-]{4,}\\.[A-Za-z0-9_-]*(?:\\.[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]+)?",
    ),
];

static FORMAT_PATTERNS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    let pattern = |format: &SecretFormat| Regex::new(&format!(r"(?-u)\A(?:{})", format.pattern));
    SECRET_FORMATS.iter().map(|format| pattern(format).expect("the pattern is right, as the tests show")).collect()
});

/// The secret of format `number` that begins at `at`, if there is one.
pub(super) fn find_secret(number: usize, text: &[u8], at: usize) -> Option<(usize, usize)> {
    let format = SECRET_FORMATS.get(number)?;
    let before = at.checked_sub(1).and_then(|before| text.get(before));
    if format.whole_word && before.is_some_and(|before| before.is_ascii_alphanumeric() || matches!(before, b'-' | b'_'))
    {
        return None;
    }
    let captures = FORMAT_PATTERNS.get(number)?.captures(&text[at..])?;
    let found = captures.get(1).or(captures.get(0))?;
    // Long words with hyphens but without digits and capitals are names.
    let random = found.as_bytes().iter().any(u8::is_ascii_digit) || found.as_bytes().iter().any(u8::is_ascii_uppercase);
    random.then_some((at + found.start(), at + found.end()))
}
