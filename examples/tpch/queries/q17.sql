-- Small-quantity orders: the yearly revenue lost if small orders of one kind were not taken.
select
    cast(sum(l_extendedprice) / 7.0 as decimal(15, 2)) as avg_yearly
from
    lineitem,
    part
where
    p_partkey = l_partkey
    and p_brand = 'Brand#23'
    and p_container = 'MED BOX'
    and l_quantity < (
        select
            0.2 * cast(avg(l_quantity) as decimal(15, 2))
        from
            lineitem
        where
            l_partkey = p_partkey
    )
