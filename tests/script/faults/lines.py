"""The texts of banner.py that more than one row expects; what `{...}` stands for is told in fault.py."""

PUBLISHED = (
    "published: {size}, {bytes} bytes, sha256 {sha}, rendered in {seconds} s, uploaded in {seconds} s, X answered "
)
TOO_MUCH = "or over 50000 chunks: ask for a smaller picture, or fewer series"

# Where a run is when its time is over, and what that usually means.
SLOW = "probably slow: add CPU, or raise deadline_seconds"
QUERYING = f"waiting for publish_if_url at {{grafana}}: {SLOW}"
ASKING_FOR_DASHBOARD = f"waiting for Grafana's dashboard API at {{grafana}}: {SLOW}"
RENDERING = f"waiting for Grafana's render at {{grafana}}: {SLOW}"
UPLOADING = "waiting for X's answer at {x}: X may have the picture: nothing to do, the next run makes sure"

# Of no answer, of any host.
BROKE_OFF = "the connection to {} broke off, or no HTTP came: check http or https, and the port"
NOT_LISTENING = "cannot connect to {}: nothing listens there, or it is unreachable: check host and port"
SAYS_NOTHING = "{} took the connection and said nothing: check http or https, and its log"
NO_SUCH_HOST = "there is no host {}: check the spelling, and DNS"
NO_TLS = "{} does not speak TLS as it should: check http or https, and the port"
UNTRUSTED = "the certificate of {} is not trusted: set REQUESTS_CA_BUNDLE to its CA"
MISNAMED = "the certificate of {} is for another name: use the name that it is for"
NO_CA = "REQUESTS_CA_BUNDLE names no certificates: mount the PEM file, or unset"
PROXY = "the proxy {} is down, hangs or refuses {}: check HTTP_PROXY and NO_PROXY"

# Of Grafana's and Prometheus' answers.
ELSEWHERE = "it wants a login (check grafana_token, orgId, anonymous access), or has moved (set the new URL)"
PARAMETER = "a parameter is wrong: check width, height, scale and timeout, or the query's syntax"
TOKEN_UNKNOWN = "grafana_token or the password is unknown or has expired: make a new service-account token"
NO_PERMISSION = "it may not see this: give the token or user the Viewer role on the dashboard"
NOT_THERE = "nothing is there: check orgId, the sub-path, and /render/d-solo/UID/SLUG or /api/v1/query"
PROXY_PASSWORD = "the proxy asks for a password: put user:password@ into HTTP_PROXY, or the host into NO_PROXY"
DOWN = "the server, renderer or data source is down, starting or slow, or a token is wrong: see logs"
NO_ANSWER = "this is not an answer to such a request: open the URL in a browser"
NO_PNG_TYPE = "failed: Grafana sent no image/png: a page lacks /render in image_url, a PDF encoding=png"
NO_DASHBOARD = "failed: no such dashboard, or the token may not see it: check UID and orgId in image_url"
NO_SERIES_LIST = "failed: publish_if_url returned no list of series: write /api/v1/query?query=..."

# Of the picture.
DAMAGED = "failed: the PNG is damaged or cut short: the renderer or a proxy broke off; the next run tries again"
NO_PNG = "failed: no PNG came as image/png: set encoding=png, or add /render to GF_RENDERING_SERVER_URL"

# Of X's answers.
UNKNOWN_CALL = "X does not take this call: check x_host, and look for news about its API"
NOT_X = "this came from a sign-in page or a proxy instead of X: check x_host and HTTPS_PROXY"
WRONG_KEYS = "wrong keys, or older than the app's Read and write: make a new access token; check the clock"
ACCESS_LEVEL = "the app's access level is too low: change its plan in X's developer console"
SUSPENDED = "the account is suspended: sign in to X and appeal"
FORBIDDEN = "X forbids it: check the app's permissions, and the account itself"
TOO_MANY_CALLS = "too many calls: run less often, or set publish_if_url"
TROUBLE = "X has a problem: nothing to do, the next run tries again"
