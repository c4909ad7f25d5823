"""The texts of banner.py that more than one row expects; what `{...}` stands for is told in fault.py."""

PUBLISHED = (
    "published: {size}, {bytes} bytes, sha256 {sha}, rendered in {seconds} s, uploaded in {seconds} s, X answered "
)
OUT_OF_TIME = "failed: out of time after {deadline} s, "
LATE = ": try that host from here (DNS, firewall, NetworkPolicy), or raise deadline_seconds"

# Where a run is when its time is over.
QUERYING = "waiting for publish_if_url at {grafana}"
ASKING_FOR_DASHBOARD = "waiting for Grafana's dashboard API at {grafana}"
RENDERING = "waiting for Grafana's render at {grafana}"
UPLOADING = "sending the picture, which may have arrived, to X at {x}"

# Of no answer, of any host.
BROKE_OFF = "the connection to {} broke off, or no HTTP came: check scheme and port; the next run tries again"
NOT_LISTENING = "nothing is listening at {}, or no way leads there: check host and port and that it runs"
NO_SUCH_HOST = "no such host: {} has no address, or DNS is away: check the spelling and DNS"
NO_TLS = "no TLS with {}: a port for plain http, or another version of TLS: check scheme and port"
CERTIFICATE = "the certificate of {} is for another name or not trusted: set REQUESTS_CA_BUNDLE to its CA"
NO_CA = "REQUESTS_CA_BUNDLE names no file: mount it, or unset the variable"
PROXY = "the proxy is away or refuses {}: check HTTP_PROXY, HTTPS_PROXY and its rules, or NO_PROXY"

# Of Grafana's and Prometheus' answers.
LOGIN_PAGE = "the way to its login page: set grafana_token, or allow anonymous access, and check orgId"
MOVED = "the URL has moved: set the final address, with its scheme, host and sub-path"
PARAMETER = "a parameter is wrong: check width, height, scale and timeout in image_url, or the syntax in publish_if_url"
TOKEN_UNKNOWN = "grafana_token or the password is unknown or expired: make a new service-account token"
NO_PERMISSION = "no permission: give this token or user the Viewer role on the dashboard"
NOT_THERE = "nothing is there: check orgId, the sub-path, and /render/d-solo/UID/SLUG or /api/v1/query"
PROXY_CREDENTIALS = "the proxy wants credentials: put user:password@ into HTTP_PROXY, or the host into NO_PROXY"
RENDERER_AWAY = "the renderer or data source is away or slow, its token wrong, or grafana_token deleted: see their logs"
DOWN = "Grafana, Prometheus or a proxy before them is down or starting: look at their logs"
NO_ANSWER = "that is no answer to this request: open the URL in a browser"
NO_PNG_TYPE = "failed: Grafana sent no image/png: a page means that /render is missing in image_url, a PDF encoding=png"
TOO_LARGE = "failed: more than 5 MB came from {grafana}: ask for a smaller picture in image_url"
NO_DASHBOARD = "failed: no such dashboard, or not for this token or user: check the UID and orgId in image_url"
NO_SERIES_LIST = (
    "failed: publish_if_url answered no list of series: it must be an instant query, /api/v1/query?query=..."
)

# Of the picture.
DAMAGED = (
    "failed: the PNG is damaged, cut short or interlaced: the renderer or a proxy broke off; the next run tries again"
)
NO_PNG = "failed: no PNG came as image/png: GF_RENDERING_SERVER_URL must end with /render; see the renderer's log"
CANNED = "Grafana's own notice: no renderer is set (GF_RENDERING_SERVER_URL), or too many renders at once"
CLAMPED = "Grafana renders 1000 to 3000 wide and 500 high at least: set such a width and height in image_url"

# Of X's answers.
UNKNOWN_CALL = "X does not take this call: check x_host, and look for news of its API"
WRONG_KEYS = "wrong keys, of two apps, or older than the app's Read and write: make a new access token; check the clock"
ACCESS_LEVEL = "the app's access level is too low for this call: change its plan in X's developer console"
SUSPENDED = "the account is suspended: sign in to X and appeal"
FORBIDDEN = "X forbids it: check the app's permissions, and the account itself"
TOO_MANY_CALLS = "too many calls: run less often, or set publish_if_url"
TROUBLE = "X has trouble: nothing to do, the next run tries again"
