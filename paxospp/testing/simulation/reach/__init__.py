"""How far random runs get: which branches they take, in which states, and which seeds take the rare ones.

``markers`` lists the markers that the code under test can reach, ``states`` and ``pairs`` say which of
them count again while their replica is in some state, ``tally`` adds up what runs have reached, and
``steering`` picks seeds whose plans promise markers that were seldom reached so far, and tries each drill
(``simulation.drills``) while something was never reached. ``beyond`` lists what no run of the simulator reaches.
"""
