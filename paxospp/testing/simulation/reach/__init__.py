"""How far random runs get: which branches they take, in which states, and which seeds take the rare ones.

``markers`` lists the markers that the code under test can reach. ``states`` and ``pairs`` say which of them count again
while their replica is in some state. ``tally`` adds up what runs have reached. ``steering`` picks seeds whose plans
make rare markers likely, and tries each profile of faults while a marker was never reached. ``beyond`` lists the
markers that no run of the simulator reaches.
"""
