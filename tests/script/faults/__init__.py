"""What can go wrong between Grafana, Prometheus, X and a proxy: tables of faults, by where they happen."""

from script.faults import connection, credentials, dashboard, picture, proxy, query, render, x

FAULTS = {
    f"{table.__name__.rpartition('.')[2]}: {fault.claim}": fault
    for table in (render, picture, connection, credentials, proxy, dashboard, query, x)
    for fault in table.FAULTS
}
