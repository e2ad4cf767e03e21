/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ring protocol of runtime/engine.h, as a model for SPIN. One process is
 * one rank: its engine, its caller, and what arrives for it. All that is
 * asynchronous is a choice: when a descriptor, a chunk, a completion or a
 * credit arrives, when the caller calls.
 *
 * It is checked that
 *   - nothing is written into a slot that its owner reads or sends from, nor
 *     into one with a write on its way, nor into a rank that has left;
 *   - each caller gets each block once, in order, whole, with the right
 *     contents (and contributions, on an accumulating lane);
 *   - nobody hangs: whatever happens, each rank closes, or fails. Every choice
 *     moves a counter forward, so no run is infinite.
 *
 * An instance is a set of definitions (tests/model/instances.txt):
 *   N ranks, S slots, C chunks a block, P passes, L lanes, H0 hops of lane 0
 *   ACC0, ACC1	the lane accumulates
 *   HOLD	blocks that a caller may hold; OVERLAP: it takes the next
 *		before it releases one
 *   EMPTY	this rank's blocks have no chunks
 *   ORDERED	what an edge carries arrives in the order posted
 *   EAGER	an engine acts as soon as it can, never later: fewer states,
 *		and what is lost is only delay that arrival has as well
 *   LATE	with EAGER: all callers but this rank's call as soon as they can
 *   EARLY, CANCEL, VICTIM, QUITTER	the rank that may end a pass early,
 *		cancels the first pass, dies, aborts
 *   WITNESS	not so: this rank never leaves, or no rank but CANCEL hears of it
 *   SEED_...	a mistake, which must be found
 *   TRACE	accepts what tests/model/replay.c wrote, and nothing else
 */
#ifndef P
#define P 1
#endif
#ifndef C
#define C 1
#endif
#ifndef L
#define L 1
#endif
#ifndef ACC0
#define ACC0 0
#endif
#ifndef ACC1
#define ACC1 1
#endif
#ifndef H0
#if ACC0
#define H0 N
#else
#define H0 (N - 1)
#endif
#endif
#if ACC1
#define H1 N
#else
#define H1 (N - 1)
#endif
#ifndef HOLD
#define HOLD 1
#endif
#ifndef EMPTY
#define EMPTY 255
#endif
#ifndef EARLY
#define EARLY 255
#endif
#ifndef CANCEL
#define CANCEL 255
#endif
#ifndef VICTIM
#define VICTIM 255
#endif

#ifndef QUITTER
#define QUITTER 255
#endif

#define ACC(l) ((l) -> ACC1 : ACC0)
#define H(l) ((l) -> H1 : H0)
#ifndef CHUNKS
#define CHUNKS(l, k, o) ((o) == EMPTY -> 0 : C) /* of tx or rx k */
#endif

#define NEXT ((r + 1) % N)
#define PREV ((r + N - 1) % N)
#define Q(l) la[r * L + (l)]
#ifdef SEED_SLOT_RESET
#define SLOT(l, k) (((k) % H(l)) % S)
#else
#define SLOT(l, k) ((k) % S)
#endif
#define AT(i, l, s) sl[((i) * L + (l)) * S + (s)]
#define MINE(l, k) AT(r, l, SLOT(l, k))
#ifdef SEED_WRONG_LANE
#define TARGET(l, k) AT(NEXT, 1 - (l), SLOT(l, k))
#else
#define TARGET(l, k) AT(NEXT, l, SLOT(l, k))
#endif

/* Bits of what is on its way to a slot, or there. */
#define DESC 1
#define CHUNK(c) (2 << (c))
#define WHOLE(l, k, o) ((2 << CHUNKS(l, k, o)) - 1)

/* Contents: whose block, of which pass and lane, and how often added to. */
#define ID(l, p, o) (1 + ((l) * P + (p)) * N + (o))
#define PASS_OF(id) (((((id) & 31) - 1) / N) % P)
#define ADDED 32
#define CANCELLED 128

#define UNUSED 0
#define READ 1 /* by the caller, or written on an accumulating lane */
#define RELEASED 2

typedef slot {
	byte fly, here;	  /* DESC, CHUNK(c) */
	byte fd, f0, f1;  /* contents on their way */
	byte d, m0, m1;	  /* contents there */
	byte use;
	byte out	  /* writes to next that still read it */
};

typedef lane {
	byte nx, txm;	  /* block to post; its chunks posted */
	bool txd;	  /* described */
	byte granted, sig; /* slots free again; told to prev */
	byte seen;	  /* credits from next */
	byte steps;	  /* taken in this pass */
	bool lrel;	  /* step 0 released */
	byte lout	  /* writes that still read the local block */
};

slot sl[N * L * S];
lane la[N * L];
byte begun[N], ended[N];
bool finished[N]; /* END has returned for the newest pass */
byte canc[N];	  /* bit p: pass p is known to be cancelled */
bool bye[N], closed[N], failed[N], dead[N];

hidden byte k, p, o, i;

#ifdef TRACE
#define E_BEGIN 1
#define E_DESCRIBE 2
#define E_WRITE 3
#define E_SENT 4
#define E_LANDED_DESC 5
#define E_LANDED 6
#define E_TAKE 7
#define E_RELEASE 8
#define E_GRANT 9
#define E_CREDIT 10
#define E_ENDING 11
#define E_END 12
#define E_CANCEL 13
#define E_BYE 14
byte want, wr, wl, wa, wb, wc;
bool done;
#define ON(e, l, a, b, c) (want == e && wr == r && wl == (l) && \
	wa == (a) && wb == (b) && wc == (c)) &&
#define DID want = 0;
#define EV(e, r_, l_, a, b, c) d_step { want = e; wr = r_; wl = l_; \
	wa = a; wb = b; wc = c }; want == 0
#else
#define ON(e, l, a, b, c)
#define DID
#endif

/* ------------------------------------------------------------ conditions */

#define OPEN (begun[r] > ended[r])
#define KNOWN(p) (canc[r] & (1 << (p)))
#define BASE(l) ((begun[r] - 1) * H(l))
#define ORIGIN_RX(l, k) ((r + 2 * N - ((k) % H(l)) - 1) % N)
#define ORIGIN_TX(l, k) ((r + N - ((k) % H(l))) % N)

#define COMPLETE(l, k) ((MINE(l, k).here & DESC) && \
	((MINE(l, k).d & CANCELLED) || \
	 MINE(l, k).here == WHOLE(l, k, ORIGIN_RX(l, k))))
#define CONSUMED(l, k) (MINE(l, k).use == RELEASED || \
	ended[r] > (k) / H(l) || \
	(KNOWN((k) / H(l)) && MINE(l, k).use == UNUSED))
#define LAST(l, k) ((k) % H(l) == H(l) - 1)
#define FORWARDED(l, k) (LAST(l, k) || \
	(Q(l).nx > (k) + 1 && MINE(l, k).out == 0))

#ifdef SEED_FORWARD_BEFORE_RELEASE
#define MOVES(l, k) COMPLETE(l, k)
#else
#define MOVES(l, k) (COMPLETE(l, k) && CONSUMED(l, k))
#endif
#define READY_LOCAL(l, k) (!ACC(l) || Q(l).lrel || ended[r] > (k) / H(l) || \
	KNOWN((k) / H(l)))
#define READY_RX(l, k) ((k) < Q(l).granted + S && (KNOWN((k) / H(l)) || \
	(ACC(l) -> MOVES(l, k) : (MINE(l, k).here & DESC))))
#ifdef SEED_END_STOPS_FORWARDING
#define FORWARDS(l, k) (ended[r] <= (k) / H(l))
#else
#define FORWARDS(l, k) true
#endif
#define CAN_DESCRIBE(l) (!Q(l).txd && Q(l).nx < S + Q(l).seen && \
	Q(l).nx < begun[r] * H(l) && \
	(Q(l).nx % H(l) == 0 -> READY_LOCAL(l, Q(l).nx) : \
	 (FORWARDS(l, Q(l).nx - 1) && READY_RX(l, Q(l).nx - 1))))
#ifdef SEED_FORWARD_BEFORE_LANDING
#define CAN_WRITE(l, c) (Q(l).txd && (c) < CHUNKS(l, Q(l).nx, ORIGIN_TX(l, Q(l).nx)) && \
	!(Q(l).txm & (1 << (c))))
#else
#define CAN_WRITE(l, c) (Q(l).txd && (c) < CHUNKS(l, Q(l).nx, ORIGIN_TX(l, Q(l).nx)) && \
	!(Q(l).txm & (1 << (c))) && (Q(l).nx % H(l) == 0 || \
	 (MINE(l, Q(l).nx - 1).here & CHUNK(c))))
#endif
#define CAN_GRANT(l) (Q(l).granted < begun[r] * H(l) && \
	COMPLETE(l, Q(l).granted) && CONSUMED(l, Q(l).granted) && \
	FORWARDED(l, Q(l).granted))

/* A credit is told before its slot is free: the mistake itself. */
#ifdef SEED_CREDIT_BEFORE_FORWARD
#define CAN_HURRY(l) (Q(l).sig < begun[r] * H(l) && \
	Q(l).sig < Q(l).granted + S && \
	COMPLETE(l, Q(l).sig) && CONSUMED(l, Q(l).sig))
#endif
#ifdef SEED_CREDIT_BEFORE_RELEASE
#define CAN_HURRY(l) (Q(l).sig < begun[r] * H(l) && \
	Q(l).sig < Q(l).granted + S && \
	COMPLETE(l, Q(l).sig) && FORWARDED(l, Q(l).sig))
#endif

/* --------------------------------------------------------------- actions */

/* May anything be written into this slot? The property, not the protocol. */
inline check_target(l, k_, bits)
{
	assert(!closed[NEXT]);
	assert(!(TARGET(l, k_).fly & (bits)));
	assert(TARGET(l, k_).use != READ);
	assert(TARGET(l, k_).out == 0)
}

inline posted_all(l)
{
	Q(l).nx++;
	Q(l).txd = false;
	Q(l).txm = 0
}

inline describe(l)
{
	k = Q(l).nx;
	p = k / H(l);
	o = ORIGIN_TX(l, k);
#ifdef SEED_CANCEL_STOPS_COUNTING
	if
	:: KNOWN(p) -> posted_all(l)
	:: else
	fi;
	if
	:: Q(l).nx == k ->
#endif
	check_target(l, k, DESC);
	TARGET(l, k).fly = TARGET(l, k).fly | DESC;
	TARGET(l, k).fd = (KNOWN(p) -> ID(l, p, o) | CANCELLED :
		(k % H(l) == 0 -> ID(l, p, o) : MINE(l, k - 1).d));
	Q(l).txd = true;
	if
	:: KNOWN(p) || CHUNKS(l, k, o) == 0 -> posted_all(l)
	:: else
	fi
#ifdef SEED_CANCEL_STOPS_COUNTING
	:: else
	fi
#endif
}

inline write(l, c)
{
	k = Q(l).nx;
	p = k / H(l);
	check_target(l, k, CHUNK(c));
	TARGET(l, k).fly = TARGET(l, k).fly | CHUNK(c);
	i = (k % H(l) == 0 -> ID(l, p, r) + ADDED * (ACC(l) && Q(l).lrel) :
		(c == 0 -> MINE(l, k - 1).m0 : MINE(l, k - 1).m1));
	if
	:: c == 0 -> TARGET(l, k).f0 = i
	:: else -> TARGET(l, k).f1 = i
	fi;
	if
	:: k % H(l) == 0 -> Q(l).lout++
	:: else -> MINE(l, k - 1).out++
	fi;
	Q(l).txm = Q(l).txm | (1 << (c));
	if
	:: Q(l).txm == (1 << CHUNKS(l, k, ORIGIN_TX(l, k))) - 1 -> posted_all(l)
	:: else
	fi
}

inline grant(l)
{
	MINE(l, Q(l).granted).here = 0;
	MINE(l, Q(l).granted).use = UNUSED;
	Q(l).granted++;
	if
#ifdef SEED_LOST_CREDIT
	/* Rank 0's second is never told, and so each one is short by one. */
	:: r == 0 && Q(l).granted >= 2 -> Q(l).sig = Q(l).granted - 1
#endif
	:: else ->
		if
		:: Q(l).sig < Q(l).granted -> Q(l).sig = Q(l).granted
		:: else
		fi
	fi
}

/* ---------------------------------------------------------------- events */

inline land_desc(l, s)
{
	AT(r, l, s).fly = AT(r, l, s).fly & ~DESC;
	AT(r, l, s).here = AT(r, l, s).here | DESC;
	AT(r, l, s).d = AT(r, l, s).fd;
	AT(r, l, s).fd = 0;
	p = PASS_OF(AT(r, l, s).d);
	if
	:: (AT(r, l, s).d & CANCELLED) && p < begun[r] ->
		canc[r] = canc[r] | (1 << p)
	:: else
	fi
}

inline land_chunk(l, s, c)
{
	AT(r, l, s).fly = AT(r, l, s).fly & ~CHUNK(c);
	AT(r, l, s).here = AT(r, l, s).here | CHUNK(c);
	if
	:: c == 0 -> AT(r, l, s).m0 = AT(r, l, s).f0; AT(r, l, s).f0 = 0
	:: else -> AT(r, l, s).m1 = AT(r, l, s).f1; AT(r, l, s).f1 = 0
	fi
}

/* In order: an older block first, its descriptor, then its chunks. */
#ifdef ORDERED
#define AGE(l, s) (((s) + S - Q(l).granted % S) % S)
#define IN_ORDER(l, s, bits) (!(AT(r, l, s).fly & ((bits) - 1)) && \
	(AGE(l, s) < 1 || !AT(r, l, Q(l).granted % S).fly) && \
	(AGE(l, s) < 2 || !AT(r, l, (Q(l).granted + 1) % S).fly))
#else
#define IN_ORDER(l, s, bits) true
#endif

/* ---------------------------------------------------------------- caller */

inline lane_begin(l)
{
	Q(l).steps = 0;
	Q(l).lrel = false;
#ifndef TRACE
	if
	:: !ACC(l) -> Q(l).steps = 1; Q(l).lrel = true
	:: else
	fi;
#endif
	assert(Q(l).lout == 0);
	i = 0;
	do
	:: i < S ->
		if
		:: (AT(r, l, i).here & DESC) && (AT(r, l, i).d & CANCELLED) &&
		   PASS_OF(AT(r, l, i).d) == begun[r] ->
			canc[r] = canc[r] | (1 << begun[r])
		:: else
		fi;
		i++
	:: else -> break
	od
}

#define LOCAL_SENT(l) (Q(l).nx > BASE(l) && Q(l).lout == 0)
#if L > 1
#define FOR_LANES(f) (f(0) && f(1))
#else
#define FOR_LANES(f) f(0)
#endif
#ifdef SEED_END_BEFORE_SENT
#define CAN_FINISH true
#else
#define CAN_FINISH FOR_LANES(LOCAL_SENT)
#endif

#define USE(l, s) (AT(r, l, s).use == READ)
#if S == 1
#define HELD(l) USE(l, 0)
#elif S == 2
#define HELD(l) (USE(l, 0) + USE(l, 1))
#else
#define HELD(l) (USE(l, 0) + USE(l, 1) + USE(l, 2))
#endif

#define BLOCK(l) (BASE(l) + Q(l).steps - 1)
#define CAN_TAKE(l) (OPEN && Q(l).steps > 0 && Q(l).steps <= H(l) && \
	!KNOWN(begun[r] - 1) && HELD(l) < HOLD && \
	BLOCK(l) < Q(l).granted + S && COMPLETE(l, BLOCK(l)))

inline take(l)
{
	k = BLOCK(l);
	o = ORIGIN_RX(l, k);
	i = ID(l, begun[r] - 1, o);
	assert(MINE(l, k).d == i);
#if EARLY == 255 && CANCEL == 255
	i = i + ADDED * (ACC(l) * Q(l).steps);
#endif
#if EARLY != 255 || CANCEL != 255
	assert(CHUNKS(l, k, o) < 1 || (MINE(l, k).m0 & 31) == i);
	assert(CHUNKS(l, k, o) < 2 || (MINE(l, k).m1 & 31) == i);
#else
	assert(CHUNKS(l, k, o) < 1 || MINE(l, k).m0 == i);
	assert(CHUNKS(l, k, o) < 2 || MINE(l, k).m1 == i);
#endif
	assert(MINE(l, k).use == UNUSED);
	MINE(l, k).use = READ;
	Q(l).steps++
}

/* A caller that overlaps keeps one block until it has the next. */
#ifdef OVERLAP
#define MAY_RELEASE(l) (HELD(l) == HOLD || Q(l).steps > H(l))
#else
#define MAY_RELEASE(l) true
#endif

inline release(l, s)
{
	AT(r, l, s).use = RELEASED;
	if
	:: ACC(l) ->
		AT(r, l, s).m0 = AT(r, l, s).m0 + ADDED;
		AT(r, l, s).m1 = AT(r, l, s).m1 + ADDED
	:: else
	fi
}

#define TAKEN_ALL(l) (Q(l).steps > H(l) && HELD(l) == 0 && Q(l).lrel)
#ifdef TRACE
#define CAN_END OPEN
#define MAY_CANCEL OPEN
#else
#define CAN_END (OPEN && (FOR_LANES(TAKEN_ALL) || r == EARLY || \
	KNOWN(begun[r] - 1)))
#define MAY_CANCEL (r == CANCEL && OPEN && begun[r] == 1 && !KNOWN(0))
#endif

inline end_slot(l, s)
{
	if
	:: AT(r, l, s).use == READ -> AT(r, l, s).use = RELEASED
	:: else
	fi
}

inline end_lane(l)
{
	end_slot(l, 0);
#if S > 1
	end_slot(l, 1);
#endif
#if S > 2
	end_slot(l, 2)
#endif
}

#ifdef SEED_BYE_EARLY
#define THROUGH(l) true
#else
#define THROUGH(l) (Q(l).granted == P * H(l) && Q(l).nx == P * H(l) && \
	Q(l).lout == 0 && OUTS(l) == 0)
#endif
#if S == 1
#define OUTS(l) AT(r, l, 0).out
#define FLYING(l) AT(r, l, 0).fly
#elif S == 2
#define OUTS(l) (AT(r, l, 0).out + AT(r, l, 1).out)
#define FLYING(l) (AT(r, l, 0).fly + AT(r, l, 1).fly)
#else
#define OUTS(l) (AT(r, l, 0).out + AT(r, l, 1).out + AT(r, l, 2).out)
#define FLYING(l) (AT(r, l, 0).fly + AT(r, l, 1).fly + AT(r, l, 2).fly)
#endif

/* What left before a BYE has arrived before it. */
#define CREDITS_HERE(l) (Q(l).seen == la[NEXT * L + (l)].sig)
#define CLEAN(l) (FLYING(l) == 0 && OUTS(l) == 0 && Q(l).lout == 0 && \
	Q(l).seen == P * H(l))

/* ------------------------------------------------------------------ rank */

/* An option is one step; within a step it stands alone. */
#define STEP(...) d_step { __VA_ARGS__ }
#define ALONE(...) __VA_ARGS__

#define WRITE_OPTION(W, l, c) \
	:: W(CAN_WRITE(l, c) && ON(E_WRITE, l, Q(l).nx, c, \
		(Q(l).nx % H(l) == 0 -> 255 : SLOT(l, Q(l).nx - 1))) \
		true -> write(l, c); DID)
#if C > 1
#define WRITE_OPTIONS(W, l) WRITE_OPTION(W, l, 0) WRITE_OPTION(W, l, 1)
#else
#define WRITE_OPTIONS(W, l) WRITE_OPTION(W, l, 0)
#endif
#ifdef CAN_HURRY
#define HURRY_OPTION(W, l) :: W(CAN_HURRY(l) -> Q(l).sig++)
#else
#define HURRY_OPTION(W, l)
#endif

#if L > 1
#define FOR_EACH_LANE(f, W) f(W, 0) f(W, 1)
#else
#define FOR_EACH_LANE(f, W) f(W, 0)
#endif

/* What an engine may do of its own accord. */
#define ACTIONS(W, l) \
	:: W(CAN_GRANT(l) && \
		ON(E_GRANT, l, Q(l).granted + 1, 0, 0) true -> \
		grant(l); DID) \
	:: W(CAN_DESCRIBE(l) && ON(E_DESCRIBE, l, Q(l).nx, \
		(KNOWN(Q(l).nx / H(l)) != 0), ORIGIN_TX(l, Q(l).nx)) true -> \
		describe(l); DID) \
	WRITE_OPTIONS(W, l) \
	HURRY_OPTION(W, l)

#define ALL_ACTIONS(W) \
	FOR_EACH_LANE(ACTIONS, W) \
	:: W(begun[r] > 0 && ended[r] == begun[r] && !finished[r] && \
		CAN_FINISH && ON(E_END, 0, 0, 0, 0) true -> \
		finished[r] = true; DID) \
	:: W(ended[r] == P && finished[r] && !bye[r] && \
		FOR_LANES(THROUGH) && ON(E_BYE, 0, 0, 0, 0) true -> \
		bye[r] = true; DID)

/* What arrives. ON's block is the slot's: the rules know its number. */
#define CHUNK_EVENT(W, l, s, c) \
	:: W((AT(r, l, s).fly & CHUNK(c)) && \
		IN_ORDER(l, s, CHUNK(c)) && \
		ON(E_LANDED, l, s, c, 0) true -> land_chunk(l, s, c); DID)
#if C > 1
#define CHUNK_EVENTS(W, l, s) CHUNK_EVENT(W, l, s, 0) CHUNK_EVENT(W, l, s, 1)
#else
#define CHUNK_EVENTS(W, l, s) CHUNK_EVENT(W, l, s, 0)
#endif
#define SLOT_EVENTS(W, l, s) \
	:: W((AT(r, l, s).fly & DESC) && IN_ORDER(l, s, DESC) && \
		ON(E_LANDED_DESC, l, s, 0, 0) true -> land_desc(l, s); DID) \
	CHUNK_EVENTS(W, l, s) \
	:: W(AT(r, l, s).out > 0 && ON(E_SENT, l, s, 0, 0) true -> \
		AT(r, l, s).out--; DID)
#if S == 1
#define ALL_SLOTS(W, l) SLOT_EVENTS(W, l, 0)
#elif S == 2
#define ALL_SLOTS(W, l) SLOT_EVENTS(W, l, 0) SLOT_EVENTS(W, l, 1)
#else
#define ALL_SLOTS(W, l) SLOT_EVENTS(W, l, 0) SLOT_EVENTS(W, l, 1) SLOT_EVENTS(W, l, 2)
#endif
#define EVENTS(W, l) \
	ALL_SLOTS(W, l) \
	:: W(Q(l).lout > 0 && ON(E_SENT, l, 255, 0, 0) true -> \
		Q(l).lout--; DID) \
	:: W(Q(l).seen < la[NEXT * L + (l)].sig && \
		ON(E_CREDIT, l, Q(l).seen + 1, 0, 0) true -> \
		Q(l).seen++; DID)

/* What the caller does. */
#define RELEASE_OPTION(W, l, s) \
	:: W(USE(l, s) && MAY_RELEASE(l) && OPEN && \
		ON(E_RELEASE, l, s, 0, 0) true -> release(l, s); DID)
#if S == 1
#define RELEASE_OPTIONS(W, l) RELEASE_OPTION(W, l, 0)
#elif S == 2
#define RELEASE_OPTIONS(W, l) RELEASE_OPTION(W, l, 0) RELEASE_OPTION(W, l, 1)
#else
#define RELEASE_OPTIONS(W, l) \
	RELEASE_OPTION(W, l, 0) RELEASE_OPTION(W, l, 1) RELEASE_OPTION(W, l, 2)
#endif
#define LANE_CALLS(W, l) \
	RELEASE_OPTIONS(W, l) \
	:: W(CAN_TAKE(l) && ON(E_TAKE, l, Q(l).steps, \
		SLOT(l, BLOCK(l)), ORIGIN_RX(l, BLOCK(l))) true -> \
		take(l); DID) \
	:: W(OPEN && Q(l).steps == 0 && !KNOWN(begun[r] - 1) && \
		ON(E_TAKE, l, 0, 255, r) true -> Q(l).steps = 1; DID) \
	:: W(OPEN && Q(l).steps > 0 && !Q(l).lrel && \
		ON(E_RELEASE, l, 255, 0, 0) true -> Q(l).lrel = true; DID)
#define CALLS(W) \
	FOR_EACH_LANE(LANE_CALLS, W) \
	:: W(begun[r] < P && (begun[r] == 0 || finished[r]) && \
		ON(E_BEGIN, 0, begun[r], 0, 0) true -> begin(); DID) \
	:: W(CAN_END && ON(E_ENDING, 0, 0, 0, 0) true -> \
		end_pass(); DID)

/* Abort and loss: whoever fails tells both sides, and is told at most once. */
#ifdef SEED_ABORT_UNTOLD
#define TOLD false
#else
#define TOLD (failed[PREV] || failed[NEXT])
#endif
#define BEREFT ((dead[PREV] && !bye[PREV]) || (dead[NEXT] && !bye[NEXT]))

inline begin()
{
	lane_begin(0);
#if L > 1
	lane_begin(1);
#endif
	finished[r] = false;
	begun[r]++
}

inline end_pass()
{
	ended[r]++;
	end_lane(0);
#if L > 1
	end_lane(1)
#endif
}

inline leave()
{
	assert(CLEAN(0));
#if L > 1
	assert(CLEAN(1));
#endif
#ifdef WITNESS
	assert(r != WITNESS);
	assert(r == CANCEL || !canc[r]);
#endif
	closed[r] = true
}

/*
 * An eager engine acts before anything else happens to it; a prompt caller
 * calls before anything else happens to it. These choices commute: SPIN takes
 * the first.
 */
#ifdef EAGER
inline settle()
{
	d_step {
		do
		ALL_ACTIONS(ALONE)
#ifdef LATE
		:: else ->
			if
			:: r == LATE -> break
			:: else ->
				if
				CALLS(ALONE)
				:: else -> break
				fi
			fi
#else
		:: else -> break
#endif
		od
	}
}
#define LAZY_ACTIONS
#else
#define LAZY_ACTIONS ALL_ACTIONS(STEP)
#endif

active [N] proctype rank()
{
	byte r = _pid;

	do
	:: atomic {
		if
		FOR_EACH_LANE(EVENTS, STEP)
		LAZY_ACTIONS
		CALLS(STEP)
		:: d_step { MAY_CANCEL && ON(E_CANCEL, 0, 0, 0, 0) true ->
			canc[r] = canc[r] | (1 << (begun[r] - 1)); DID }
		fi;
#ifdef EAGER
		settle()
#endif
	   }
	:: d_step { bye[r] && bye[PREV] && bye[NEXT] && FOR_LANES(CREDITS_HERE)
		-> leave() } ; break
	:: d_step { TOLD || BEREFT -> failed[r] = true } ; break
	:: d_step { r == VICTIM -> dead[r] = true } ; break
	:: d_step { r == QUITTER && OPEN -> failed[r] = true } ; break
	od
}
