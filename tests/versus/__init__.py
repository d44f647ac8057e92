"""A comparison of paxospp with etcd on this machine: ``python -m tests.versus``. See README.md."""
