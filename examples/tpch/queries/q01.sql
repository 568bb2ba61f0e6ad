-- Pricing summary: what was billed, shipped and returned, by return flag and line status.
select
    l_returnflag,
    l_linestatus,
    sum(l_quantity) as sum_qty,
    sum(l_extendedprice) as sum_base_price,
    sum(l_extendedprice * (1 - l_discount)) as sum_disc_price,
    sum(l_extendedprice * (1 - l_discount) * (1 + l_tax)) as sum_charge,
    cast(avg(l_quantity) as decimal(15, 2)) as avg_qty,
    cast(avg(l_extendedprice) as decimal(15, 2)) as avg_price,
    cast(avg(l_discount) as decimal(15, 2)) as avg_disc,
    count(*) as count_order
from
    lineitem
where
    l_shipdate <= date '1998-12-01' - interval '90' day
group by
    l_returnflag,
    l_linestatus
order by
    l_returnflag,
    l_linestatus
